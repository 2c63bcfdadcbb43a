"""The sources of data, one file each; `experiments.core.kinds` finds them by a scan.

A file `NAME.py` here, or `DIR/sources/NAME.py` of a user (`plugins=DIR`), has

- `CONFIG` (of the program's own: a class of any name), a frozen dataclass of settings with the class attributes
  `source`, its name in configurations, and `kind`, that of its examples: molecules, points, images, …;
- of molecules, if it takes further test sets, the setting `tests`; its values are files of extended XYZ, or values of
  the setting that the class attribute `tests_vary` names (`test`, `temperature`);
- `load(config)`, which returns a `Dataset` (frames of atoms, eV and Å) or an `ExampleSet`. What is generated comes from
  a seed and is cached (`experiments.data.cache`), what is downloaded is a `RemoteFile` with a checksum;
- if there is something to download, `published()`: what `python -m experiments.data fetch NAME` fetches, by name.

Sets that share a reader may share a file, with a class of settings for each.
"""
