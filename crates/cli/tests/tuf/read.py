"""Reads a repository with python-tuf's client: read.py ROOT METADATA_DIR METADATA_URL TARGETS_URL TARGET_DIR [TARGET...]"""

import sys

from tuf.ngclient import Updater

root, metadata_dir, metadata_url, targets_url, target_dir, *targets = sys.argv[1:]
with open(root, "rb") as file:
    bootstrap = file.read()
updater = Updater(metadata_dir, metadata_url, target_dir, targets_url, bootstrap=bootstrap)
updater.refresh()
for target in targets:
    info = updater.get_targetinfo(target)
    assert info is not None, f"nobody vouches for {target}"
    path = updater.download_target(info)
    with open(path, "rb") as file:
        print(target, len(file.read()))
assert updater.get_targetinfo("releases/pumps/none/manifest.json") is None
