"""``python -m mmdynakd``, the same as the command ``mmdynakd``."""

from mmdynakd.cli.main import main

if __name__ == '__main__':
    main()
