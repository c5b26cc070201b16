"""Files that are written whole or not at all."""
import json
import os
import os.path as osp
from typing import Any


def write_text(folder: str, name: str, text: str) -> str:
    """Writes ``folder/name`` whole or not at all; returns its path."""
    path = osp.join(folder, name)
    with open(f'{path}.{os.getpid()}.tmp', 'w', encoding='utf-8') as file:
        file.write(text)
    os.replace(file.name, path)
    return path


def write_json(folder: str, name: str, content: Any) -> str:
    """As :func:`write_text`, of JSON without NaN or infinity."""
    return write_text(folder, name, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n')
