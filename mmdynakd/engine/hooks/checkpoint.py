"""Checkpoints that outlive a kill at any moment, and hold what MMEngine's leave out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.dist import all_reduce, gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner
from torch import nn

from mmdynakd.generators import generator_states
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.names import is_plain_name
from mmdynakd.registry import HOOKS
from mmdynakd.workdir.checkpoints import ATOMIC, note_newest

STATE = 'mmdynakd_resume'


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's hook; a checkpoint is written whole or not at all, and an older one is removed
    only after it.

    It also holds the states of the random generators, for a run that goes on in the midst of an
    epoch, and gradients that wait for their optimizer step (``accumulative_counts``). In a
    distributed run these are averaged over the ranks when they are saved, as they would be in the
    step.

    Args: as MMEngine's. ``max_keep_ckpts=1`` leaves nothing to fall back to where the newest is
    damaged.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.filename_tmpl is not None and not is_plain_name(self.filename_tmpl):
            raise ValueError(
                f'CheckpointHook: filename_tmpl must name a file, without folders, got '
                f'{self.filename_tmpl!r}; out_dir says where'
            )
        local = self.out_dir is None or '://' not in str(self.out_dir)
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC)
        self._place = dict(done=0, generators=None)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = self._keep(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        _average(runner.model)
        if not self.by_epoch:  # an epoch seeds its generators
            done = runner.iter + 1 - runner.epoch * len(runner.train_dataloader)
            self._place = dict(done=done, generators=gather_object(generator_states()))
        with _as_it_comes(runner.cfg):
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        self._place = dict(done=0, generators=None)  # as between two epochs, for who else saves
        if is_main_process():
            note_newest(runner.work_dir, str(self.last_ckpt))
            for path in outdated:
                if self.file_backend.isfile(path):
                    self.file_backend.remove(path)

    def _keep(self, runner: Runner, step: int) -> list[str]:
        """Notes ``step`` among the checkpoints that are kept; returns those that no longer are."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        outdated = (
            [self.keep_ckpt_ids.popleft()] if len(self.keep_ckpt_ids) == self.max_keep_ckpts else []
        )
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return [
            self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
            for old in outdated
        ]

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        waiting = {
            name: p.grad.cpu()
            for name, p in algorithm_of(runner).named_parameters()
            if p.grad is not None
        }
        checkpoint[STATE] = dict(self._place, gradients=waiting)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        state = checkpoint.get(STATE)
        if state is None or not runner._resume:
            return
        _put_back(state['gradients'], algorithm_of(runner))
        states = state['generators'] or []
        runner.train_loop.resumed = (
            state['done'],
            states[get_rank()] if len(states) == get_world_size() else None,
        )


@contextmanager
def _as_it_comes(cfg: Config) -> Iterator[None]:
    """Within it the config's text is not laid out (by yapf: a second for one of many lanes, in
    every checkpoint).
    """
    before = cfg._format_python_code
    object.__setattr__(cfg, '_format_python_code', False)  # Config's own would make it a key
    try:
        yield
    finally:
        object.__setattr__(cfg, '_format_python_code', before)


def _average(model: nn.Module) -> None:
    """Averages over the ranks the gradients that wait: each rank holds its own until the step."""
    if get_world_size() > 1:
        for p in model.parameters():
            if p.grad is not None:
                all_reduce(p.grad, op='mean')


def _put_back(gradients: Mapping, model: nn.Module) -> None:
    parameters = dict(model.named_parameters())
    for name, gradient in gradients.items():
        parameters[name].grad = gradient.to(parameters[name])
