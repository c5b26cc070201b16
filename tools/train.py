"""``mmdynakd train``, under the name that MMEngine's users know."""

from mmdynakd.cli.main import tool

if __name__ == '__main__':
    tool('train')
