import numpy as np
import pytest

from dimscope import Estimate, Layer, Profile


@pytest.fixture
def saved(tmp_path):
    for name, dimension in (("first", 8.0), ("second", 5.0)):
        estimates = {"twonn": {"a": Estimate(dimension, 0.1)}}
        Profile((Layer("a"),), estimates, name).save(tmp_path / f"{name}.json")
    return [tmp_path / "first.json", tmp_path / "second.json"]


def test_report_writes_a_page_of_several_profiles(saved, tmp_path, invoke):
    result = invoke("report", *saved, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert result.output == f"written: {tmp_path / 'page.html'}\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"name":"first"' in page
    assert '"name":"second"' in page


def test_report_refuses_missing_files_and_folders(saved, tmp_path, refusal):
    assert "nowhere.json" in refusal("report", tmp_path / "nowhere.json", "--out", "p.html")
    assert "--out" in refusal("report", *saved, "--out", tmp_path / "no" / "p.html")


def test_profile_writes_a_page_with_differences(folder, invoke):
    result = invoke("profile", "net.py:make", "--data", "x.npy", "--report", "p.html")
    assert result.exit_code == 0, result.output
    assert "written: p.html" in result.output
    page = (folder / "p.html").read_text(encoding="utf-8")
    assert '"equal_to_rounding":false' in page


def test_profile_refuses_a_page_in_a_folder_that_does_not_exist(folder, refusal):
    np.save("x.npy", np.ones((3, 6)))
    message = refusal("profile", "net.py:make", "--data", "x.npy", "--report", "no/p.html")
    assert "--report" in message
