// What stands in for libFuzzer where the compiler has none: every seed, and mutations of it that
// are the same in every run.
#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr int mutations = 1000;

// Copied to its exact size, so that AddressSanitizer sees a read behind the end.
void run_one(const Input& input) {
  const Input exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

Input mutated(Input input, std::mt19937& random) {
  const auto below = [&](std::size_t end) { return random() % (end == 0 ? 1 : end); };
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
    if (input.empty()) return input;
    const auto at = input.begin() + static_cast<std::ptrdiff_t>(below(input.size()));
    switch (below(5)) {
      case 0: *at = static_cast<std::uint8_t>(random()); break;
      case 1: *at ^= static_cast<std::uint8_t>(1U << below(8)); break;
      case 2: input.erase(at, input.end()); break;
      case 3: input.erase(at); break;
      default: {
        const Input tail(at, input.end());
        input.insert(at, tail.begin(), tail.end());
      }
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t seeds = 0;
  for (const std::string& argument : std::vector<std::string>(argv + 1, argv + argc)) {
    if (argument.starts_with('-')) continue;  // libFuzzer's options
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argument)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      const Input seed{std::istreambuf_iterator<char>(file), {}};
      run_one(seed);
      std::mt19937 random(static_cast<unsigned>(++seeds));
      for (int i = 0; i < mutations; ++i) run_one(mutated(seed, random));
    }
  }
  fmt::print("{} seeds, {} mutations each\n", seeds, mutations);
  return seeds == 0 ? 1 : 0;
}
