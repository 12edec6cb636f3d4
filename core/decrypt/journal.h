// The journal of a decryption: where it stands, so that it goes on after a power cut.
//
// STATE/decrypt/ID.json, replaced atomically before each phase begins, with two header files beside
// it. They are all that opens the volume meanwhile: nothing here removes one before the volume is
// decrypted, or was given back as it was. No secret is in the journal.
#pragma once

#include "core/base/file.h"
#include "core/decrypt/plan.h"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// In the order in which they are passed.
enum class DecryptPhase {
  prepared,    // header file and backup are there and proven to open; device untouched
  holding,     // crypttab and fstab: not at boot
  moving,      // the header gives way to the first piece of the data
  decrypting,  // the data is rewritten
  wiping,      // the last bytes of the device, which nothing needs any more
  tables,      // crypttab and fstab, for good
  forgetting,  // the header files are destroyed
};

// In their order.
inline constexpr std::array decrypt_phases = {DecryptPhase::prepared,  DecryptPhase::holding,
                                              DecryptPhase::moving,    DecryptPhase::decrypting,
                                              DecryptPhase::wiping,    DecryptPhase::tables,
                                              DecryptPhase::forgetting};

struct DecryptionEntry {
  std::string id;
  DecryptPhase phase = DecryptPhase::prepared;
  DecryptionPlan plan;  // without what is only for reading: obstacles, steps, risk ...
  Path backup;          // of the header
  // How the device is known again while no header is on it, SHA-256 of known_bytes each:
  std::string head;    // of the first ciphertext, which stands still at byte 0 until the last zone
  std::string middle;  // of the first plaintext, behind that piece; "" before there is any
  std::string tail;    // of the noise at the end, once all is decrypted
  std::string started_at;
};

class DecryptionJournal {
 public:
  explicit DecryptionJournal(const Path& state) : folder_(state / "decrypt") {}

  // Durable when it returns.
  void write(const DecryptionEntry& entry) const;
  // Overwrites and removes the header files. Repeatable.
  void destroy_headers(const DecryptionEntry& entry) const;
  // The header files, if any are left, then the journal.
  void remove(const DecryptionEntry& entry) const;
  // Everything unfinished, oldest first. Throws Error{damaged} for a file that is no journal.
  std::vector<DecryptionEntry> unfinished() const;
  // Header files of decryptions that were cut off before their journal began: copies of a header
  // that is on its volume.
  void remove_strays() const;

  // As it was when it was proven; never changed after that.
  Path pristine_header(const std::string& id) const { return folder_ / (id + ".header"); }
  // The one that knows how far the data is decrypted.
  Path working_header(const std::string& id) const { return folder_ / (id + ".working"); }
  const Path& folder() const { return folder_; }

 private:
  Path folder_;
};

// Throws Error{unsafe} while one is unfinished: `doing` would not know what is on that volume.
void refuse_while_decrypting(const Path& state, std::string_view doing);

// One line for each that is unfinished: nothing on such a volume shows what it is.
void warn_of_decryptions(const Path& state);

std::string_view to_string(DecryptPhase phase);

}  // namespace volseal
