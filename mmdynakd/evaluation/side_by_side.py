"""All lanes of a plan in one run: the same batches, and one pass of each teacher for all."""

from mmengine.dist import barrier
from mmengine.logging import print_log

from mmdynakd.launch.run import train

from .plan import Plan


def train_side_by_side(plan: Plan, fresh: bool = False) -> None:
    """Train all lanes in one run; its ``ResultsHook`` chooses and writes the results.

    Args:
        plan: with one seed.
        fresh: what is in the plan's work dir moves aside, and the run starts over.

    Raises:
        ValueError: for a plan with several seeds.

    Examples:
        ``train_side_by_side(read_plan('work_dirs/search'))``
    """
    if len(plan.seeds) != 1:
        raise ValueError(
            f'lanes side by side share one seed, got {plan.seeds}: give an executor for several'
        )
    cfg = plan.side_by_side(plan.seeds[0])
    print_log(f'evaluating {list(plan.lanes)} side by side in {cfg.work_dir}', 'current')
    train(cfg, fresh=fresh)
    barrier()  # the first process writes the results that all may read now
