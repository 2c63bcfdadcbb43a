"""Put conf/ into the wheel, inside experiments (experiments/core/paths.py finds it); the rest is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    """An editable installation uses the checkout's own conf/."""

    def run(self) -> None:
        """Build as usual, then copy."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "experiments", "conf")
            shutil.rmtree(target, ignore_errors=True)  # what an earlier build left
            shutil.copytree("conf", target)


setup(cmdclass={"build_py": BuildWithConf})
