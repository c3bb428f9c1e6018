"""``dimscope`` itself."""

import dimscope as ds


def test_version_is_that_of_the_package(invoke):
    assert invoke("--version").output.strip() == ds.__version__
