"""Packaging. MMEngine, MMCV and MMPretrain come by an extra: two distributions of each exist."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def text(name: str) -> str:
    path = ROOT / name
    return path.read_text(encoding='utf-8') if path.exists() else ''


# Read, not imported: importing the package needs torch.
VERSION = re.search(r"__version__ = '(.+)'", text('mmdynakd/version.py')).group(1)

INSTALL_REQUIRES = [
    # Ranges, so that an installed torch stays. Below torch 2.3, ask for 'numpy<2' too.
    'torch>=2.0,<2.16',
    'torchvision>=0.15',
    'mmrazor>=1.0.0,<1.1',
    # imported by MMRazor, which does not declare them (scikit-learn is ours too: its digits)
    'joblib',
    'pydacefit',
    'scikit-learn',
    'scipy',
    # MMRazor's, declared
    'ordered-set',
    'filelock>=4.1',
    'matplotlib',
    'msgspec',
    'numpy',
]

EXTRAS_REQUIRE = {
    'openmmlab': [
        'mmengine>=0.10.7,<1',
        # MMRazor 1.0.0 asserts mmcv <= 2.1.0. Who has the full mmcv already wants no extra: both
        # own one folder.
        'mmcv-lite>=2.0.0,<2.2',
        'mmpretrain>=1.2.0,<2',
        # MMEngine 0.10 imports pkg_resources (configs that inherit from 'mmpretrain::…');
        # setuptools 82 has none
        'setuptools<82',
    ],
    'onedl': ['onedl-mmengine>=0.10.12,<1', 'onedl-mmcv>=2.3.6,<2.4', 'onedl-mmpretrain>=1.3.6,<2'],
    'ray': ['ray>=2.40,<3'],  # mmdynakd evaluate --executor ray
    'dev': ['hypothesis', 'mypy', 'nox', 'openmim', 'pytest', 'pytest-xdist', 'ruff'],
}

setup(
    name='mmdynakd',
    version=VERSION,
    description='Multi-teacher knowledge distillation that learns which teacher to draw '
    '(DynaKD, AAAI 2024), for MMEngine, MMPretrain and MMRazor',
    long_description=text('README.md'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmdynakd', 'mmdynakd.*']),
    # MIM looks in .mim, which links to configs, tools and model-index.yml; a wheel gets the files.
    package_data={'mmdynakd': ['py.typed', '.mim/**/*', '.mim/*']},
    entry_points={'console_scripts': ['mmdynakd = mmdynakd.cli.main:main']},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
)
