"""``python -m cloudinit`` packs the kits anew, after a change of what is in one."""

from cloudinit.pack import KITS, pack, packed_file

for role in KITS:
    packed_file(role).write_text(pack(role))
