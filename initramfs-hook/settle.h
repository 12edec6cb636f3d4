// udev's part in a new mapping: its link in /dev/mapper and its entry in udev's database. The
// mapping can be used before, yet libcryptsetup waits for udev in each activation, one after the
// other and for longer than all the rest takes. Here that wait is put off until the volumes are
// open, checked and the latch is closed; udev works meanwhile.
//
// libcryptsetup has no option for it. So this program has a dm_udev_wait of its own, which the
// dynamic linker prefers to libdevmapper's.
#pragma once

namespace volseal {

// Waits for udev, for all that this process has mapped. Whoever enters the root after that finds
// the links there, and systemd the volumes in the database.
void settle();

}  // namespace volseal
