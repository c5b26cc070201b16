"""Trains a config: a teacher, a DynaKD search with its evaluation, anything MMEngine's Runner takes.

    python tools/train.py CONFIG [--work-dir DIR] [--resume [CKPT]] [--amp] [--cfg-options k=v …] [--launcher …]
"""
import argparse

from mmdynakd.engine.launch import add_common_arguments, load_config, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser)
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CKPT',
                        help='go on from CKPT, or from the newest checkpoint of the work dir')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision, for every optimizer')
    args = parser.parse_args()
    cfg = load_config(args)
    if args.amp:
        use_amp(cfg)
    if args.resume:
        cfg.resume, cfg.load_from = True, None if args.resume == 'auto' else args.resume
    run(cfg, lambda runner: runner.train())


def use_amp(cfg) -> None:
    """Sets AmpOptimWrapper for the one optimizer, or for the student's and θ's."""
    wrappers = [cfg.optim_wrapper[key] for key in ('student', 'theta') if key in cfg.optim_wrapper]
    for wrapper in wrappers or [cfg.optim_wrapper]:
        wrapper.type = 'AmpOptimWrapper'


if __name__ == '__main__':
    main()
