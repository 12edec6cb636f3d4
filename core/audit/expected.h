// What the log's tree must be at certain sizes, by everything that was signed or kept of it.
#pragma once

#include "core/audit/note.h"
#include "core/audit/tree.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace volseal::audit {

// What the TPM holds of a log.
struct Anchored {
  std::uint64_t size = 0;
  Hash root{};
  std::string log;  // the log's id
};

class Expected {
 public:
  // `source`: "a checkpoint", "the TPM" ...
  void add(std::uint64_t size, const Hash& root, std::string source);
  // Once, before the first look.
  void sort();

  struct Mismatch {
    std::uint64_t after = 0;  // the lines up to this one are good
    std::uint64_t upto = 0;   // one of those behind it, up to this one, is bad
    std::string source;
  };
  // Called for each size in turn. Only the first mismatch is told: all later ones follow from it.
  std::optional<Mismatch> look(const Tree& tree, Hasher& hasher);
  // What says that there were more lines than `size`: the one that says the most.
  struct Cut {
    std::uint64_t size = 0;
    std::string source;
  };
  std::optional<Cut> beyond(std::uint64_t size) const;

  std::uint64_t last_size() const { return all_.empty() ? 0 : all_.back().size; }

 private:
  struct One {
    std::uint64_t size = 0;
    Hash root{};
    std::string source;
  };
  std::vector<One> all_;
  std::size_t next_ = 0;
  std::uint64_t good_ = 0;
  bool failed_ = false;
};

}  // namespace volseal::audit
