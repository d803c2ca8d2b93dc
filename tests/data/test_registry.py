from __future__ import annotations

import pytest

from graphhand.data import DATASETS, open_dataset
from graphhand.errors import InputError


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_set_describes_itself_and_names_the_missing_file(name, tmp_path):
    info = DATASETS[name].info
    assert info.tree.startswith("DIR/")
    assert info.test_split in ("", *info.splits)
    for split in info.splits or (None,):
        with pytest.raises(InputError, match=f"graphhand data check {name}") as caught:
            open_dataset(name, tmp_path, split)
        assert "\n" not in str(caught.value)


def test_unknown_names_splits_and_options_list_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="rhd, stb, freihand"):
        open_dataset("imagenet", tmp_path)
    with pytest.raises(InputError, match="training, evaluation"):
        open_dataset("rhd", tmp_path, "test")
    with pytest.raises(InputError, match="choose from views, wrist_rule"):
        open_dataset("stb", tmp_path, wrist="ge")
