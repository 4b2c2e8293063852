from pathlib import Path

import pytest

from tests.faults import folders, readers


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest exported model, so that compiling takes least; nothing may write to it."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    readers.write(folder, folders.model_folder())
    return folder
