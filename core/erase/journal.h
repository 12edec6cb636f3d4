// The journal of an erasure: what is destroyed and how far, so that it goes on after a power cut.
//
// STATE/erase/ID.json, replaced atomically before each phase begins and after each volume. It has
// the seeds of the noise, by which a half-erased volume is told from anything else. No secret of
// the volumes is in it.
#pragma once

#include "core/base/file.h"
#include "core/erase/plan.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// In the order in which they are passed.
enum class ErasePhase {
  keys,     // keyslots and headers, volume by volume
  group,    // the group's secret: TPM and files
  tables,   // crypttab and fstab
  records,  // header backups where that is asked for, records of drills
  proof,    // the certificate
};
inline constexpr std::array erase_phases = {ErasePhase::keys, ErasePhase::group, ErasePhase::tables,
                                            ErasePhase::records, ErasePhase::proof};

// What was done about a group's secret.
struct ClearedGroup {
  std::string tpm;      // "cleared", "absent" (no TPM was asked, as was demanded)
  std::string counter;  // of the revocation counter: "removed", "none", "left" and why
  std::string index;    // its NV index, hexadecimal
  std::vector<std::string> destroyed;  // files and folders
};

struct ErasureEntry {
  std::string id;
  ErasePhase phase = ErasePhase::keys;
  std::string target, group;
  std::string certificates;  // folder for them
  bool backups = false;      // destroy local header backups too
  bool without_tpm = false;  // clear a group although its TPM does not answer
  std::vector<ErasedVolume> volumes;
  std::optional<ClearedGroup> cleared;
  std::vector<std::string> table_lines;  // that were taken out: "crypttab: data" ...
  std::string started_at;
};

class ErasureJournal {
 public:
  explicit ErasureJournal(const Path& state) : folder_(state / "erase") {}

  // Durable when it returns.
  void write(const ErasureEntry& entry) const;
  void remove(const ErasureEntry& entry) const;
  // Everything unfinished, oldest first. Throws Error{damaged} for a file that is no journal.
  std::vector<ErasureEntry> unfinished() const;
  const Path& folder() const { return folder_; }

 private:
  Path folder_;
};

// Throws Error{unsafe} while one is unfinished.
void refuse_while_erasing(const Path& state, std::string_view doing);
// One line for each that is unfinished.
void warn_of_erasures(const Path& state);

std::string_view to_string(ErasePhase phase);

}  // namespace volseal
