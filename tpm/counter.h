// The revocation counter of a group: an NV counter that only ever goes up, even over undefine and
// define.
#pragma once

#include "tpm/connection.h"
#include "tpm/state.h"

#include <cstdint>

namespace volseal::tpm {

// The index written down in the state folder, defined and counted up once so that it can be read;
// chosen, written down and defined where there is none. Safe to repeat.
std::uint32_t make_counter(Connection& tpm, const GroupState& state);
std::uint64_t read_counter(Connection& tpm, std::uint32_t index);
// By one; every approval with a lower sequence is void from here on.
void increment_counter(Connection& tpm, std::uint32_t index);
enum class CounterState { none, ours, foreign };
// By its public area.
CounterState look_at_counter(Connection& tpm, std::uint32_t index);
void remove_counter(Connection& tpm, std::uint32_t index);

}  // namespace volseal::tpm
