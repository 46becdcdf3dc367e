#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""thin_set.py SET THIN - a copy of a set without the pages that may come late (marked lazy): what a host needs that fetches those from one that has SET.
Prints how many pages it does not have."""
import os
import shutil
import sys

import pycriu

PRESENT, LAZY, PAGE = 4, 2, 4096


def main():
    full, thin = sys.argv[1:]
    os.mkdir(thin)
    left = 0
    for name in os.listdir(full):
        path = os.path.join(full, name)
        if not name.endswith(".img") or name.startswith("pages-"):
            continue
        if not name.startswith("pagemap-"):
            shutil.copy(path, thin)
            continue
        with open(path, "rb") as f:
            image = pycriu.images.load(f)
        head = image["entries"][0]
        pages = "pages-%d.img" % head["pages_id"]
        with open(os.path.join(full, pages), "rb") as from_, open(os.path.join(thin, pages), "wb") as to:
            for e in image["entries"][1:]:
                if not e["flags"] & PRESENT:
                    continue
                data = from_.read(e["nr_pages"] * PAGE)
                if e["flags"] & LAZY:
                    e["flags"] = LAZY
                    left += e["nr_pages"]
                else:
                    to.write(data)
        with open(os.path.join(thin, name), "wb") as f:
            pycriu.images.dump(image, f)
    print(left)


main()
