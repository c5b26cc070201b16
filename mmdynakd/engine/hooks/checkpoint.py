"""Checkpoints that survive a kill at any moment, and hold what MMEngine's leave out."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce, gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner
from torch import nn

from mmdynakd.compat.mmengine_internals import resumes, unformatted
from mmdynakd.generators import generator_states
from mmdynakd.models.unwrap import algorithm_of
from mmdynakd.names import is_plain_name
from mmdynakd.registry import HOOKS
from mmdynakd.workdir.checkpoints import ATOMIC, note_newest

from ..loops.epochs import Place

STATE = 'mmdynakd_resume'
BETWEEN_EPOCHS: Mapping[str, Any] = dict(done=0, generators=None)


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """MMEngine's hook, but a checkpoint is written whole, and older ones are removed only after it.

    It also holds the states of the random generators, for a run that goes on in the middle of an
    epoch, and gradients that wait for their optimizer step (``accumulative_counts``). In a
    distributed run these are averaged over the ranks when they are saved, as they would be in the
    step.

    Args:
        args: as MMEngine's.
        kwargs: likewise. ``max_keep_ckpts=1`` leaves nothing to fall back to where the newest is
            damaged.

    Raises:
        ValueError: ``filename_tmpl`` is not the plain name of a file.

    Examples:
        In a config: ``default_hooks=dict(checkpoint=dict(type='mmdynakd.CheckpointHook',
        interval=1))``.

        >>> CheckpointHook(interval=5).interval
        5
    """

    backend_args: Mapping[str, Any] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.filename_tmpl is not None and not is_plain_name(self.filename_tmpl):
            raise ValueError(
                f'CheckpointHook: filename_tmpl must name a file, without folders, got '
                f'{self.filename_tmpl!r}; out_dir says where'
            )
        local = self.out_dir is None or '://' not in str(self.out_dir)
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC)
        self._place = BETWEEN_EPOCHS

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        outdated = self._keep(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        _average(runner.model)
        if not self.by_epoch:  # an epoch seeds its generators
            done = runner.iter + 1 - runner.epoch * len(runner.train_dataloader)
            self._place = dict(done=done, generators=gather_object(generator_states()))
        with unformatted(runner.cfg):
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
        self._place = BETWEEN_EPOCHS  # for other hooks that save
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

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put into the checkpoint what MMEngine leaves out."""
        waiting = {
            name: p.grad.cpu()
            for name, p in algorithm_of(runner).named_parameters()
            if p.grad is not None
        }
        checkpoint[STATE] = dict(self._place, gradients=waiting)

    def after_load_checkpoint(self, runner: Runner, checkpoint: Mapping[str, Any]) -> None:
        """Put it back, if the run goes on from the checkpoint."""
        state = checkpoint.get(STATE)
        if state is None or not resumes(runner):
            return
        _put_back(state['gradients'], algorithm_of(runner))
        states = state['generators'] or []
        runner.train_loop.resumed = Place(
            state['done'],
            states[get_rank()] if len(states) == get_world_size() else None,
        )


def _average(model: nn.Module) -> None:
    """Averages over the ranks the gradients that wait: each rank holds its own until the step."""
    if get_world_size() > 1:
        for p in model.parameters():
            if p.grad is not None:
                all_reduce(p.grad, op='mean')


def _put_back(gradients: Mapping[str, torch.Tensor], model: nn.Module) -> None:
    parameters = dict(model.named_parameters())
    for name, gradient in gradients.items():
        parameters[name].grad = gradient.to(parameters[name])
