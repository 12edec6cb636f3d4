// What libcryptsetup has beside a mapping while it encrypts the volume that is in use: a device
// NAME-overlay, through which all reads and writes go, and one for the hot zone, which is suspended
// while that is rewritten. They stay when the process that encrypts is killed, or cannot read or
// write the disk.
#pragma once

#include <string>

namespace volseal {

// The mapping cannot be encrypted further before it is closed and opened again.
bool has_hot_zone(const std::string& mapping);

// Who waits for a hot zone that nobody rewrites any more gets an error from now on, as from a bad
// disk, and can be ended; else he would wait forever. Nothing happens where nobody waits. The
// header says what to repair, as after a power cut. Throws Error{program_failed}.
void give_up_hot_zone(const std::string& mapping);

// Behind a mapping that has been closed: closing it leaves them. Throws Error{program_failed}.
void remove_hot_zone(const std::string& mapping);

}  // namespace volseal
