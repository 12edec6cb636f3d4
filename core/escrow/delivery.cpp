#include "core/escrow/delivery.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/process.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace volseal::escrow {

namespace {

[[noreturn]] void refused(const std::string& what, const std::string& why) {
  throw Error(Code::escrow_refused, "{}: {}", what, why);
}

// As escrow_refused, whatever kind of failure it was: nobody has the key.
template <typename F>
void acknowledged(F action) {
  try {
    action();
  } catch (const Error& error) {
    throw Error(Code::escrow_refused, "deliver the escrow: {}", error.what());
  }
}

// The last line that it said.
std::string last_line(std::string_view output) {
  while (!output.empty() && (output.back() == '\n' || output.back() == '\r')) {
    output.remove_suffix(1);
  }
  const std::size_t newline = output.rfind('\n');
  return escaped(newline == std::string_view::npos ? output : output.substr(newline + 1));
}

}  // namespace

void require_directory(const Path& folder) {
  struct stat status{};
  const std::string what = "escrow to the directory " + folder.native();
  if (::stat(folder.c_str(), &status) != 0) {
    refused(what, errno == ENOENT ? "there is none; is it mounted?"
                                  : "it cannot be looked at (" + std::to_string(errno) + ")");
  }
  if (!S_ISDIR(status.st_mode)) refused(what, "it is no directory");
  if (::access(folder.c_str(), W_OK) != 0) refused(what, "it cannot be written");
}

void require_command(const std::vector<std::string>& argv) {
  const std::string what = "escrow by the command " + argv.at(0);
  struct stat status{};
  if (::stat(argv.at(0).c_str(), &status) != 0) refused(what, "there is no such program");
  if (!S_ISREG(status.st_mode) || ::access(argv.at(0).c_str(), X_OK) != 0) {
    refused(what, "it is no program that can be run");
  }
  if ((status.st_uid != 0 && status.st_uid != ::geteuid()) || (status.st_mode & 022U) != 0) {
    refused(what, "others than root can write it");
  }
}

void deliver_to_directory(const Path& folder, std::span<const SealedBlob> blobs) {
  require_directory(folder);
  std::vector<Path> written;
  try {
    for (const SealedBlob& blob : blobs) {
      const Path file = folder / blob.name;
      acknowledged([&] {
        if (std::filesystem::exists(std::filesystem::symlink_status(file))) {
          throw Error(Code::busy, "write {}: it is there already", file.native());
        }
        write_file(file, blob.pem);
      });
      written.push_back(file);
    }
  } catch (...) {
    // Of a key that will never open anything.
    for (const Path& file : written) ::unlink(file.c_str());
    throw;
  }
}

void deliver_to_descriptor(int fd, std::span<const SealedBlob> blobs) {
  for (const SealedBlob& blob : blobs) {
    acknowledged([&] { write_all(fd, blob.pem, "descriptor " + std::to_string(fd)); });
  }
  // A pipe has nothing to sync and says EINVAL; a file must be on its disk.
  if (::fsync(fd) != 0 && errno != EINVAL && errno != EROFS) {
    acknowledged([&] { throw_errno(errno, "sync descriptor {}", fd); });
  }
}

void deliver_to_command(const std::vector<std::string>& argv, std::chrono::seconds timeout,
                        const CommandContext& context, std::span<const SealedBlob> blobs) {
  require_command(argv);
  const std::string what = "escrow by the command " + argv.at(0);
  for (const SealedBlob& blob : blobs) {
    ProcessResult result;
    acknowledged([&] {
      result =
          run(argv, blob.pem,
              {.variables = {"VOLSEAL_NAME=" + blob.name, "VOLSEAL_LUKS_UUID=" + context.luks_uuid,
                             "VOLSEAL_GROUP=" + context.group},
               .timeout = timeout});
    });
    if (result.timed_out) {
      refused(what, fmt::format("it did not end within {} s, and was killed", timeout.count()));
    }
    if (result.status != 0) {
      const std::string said = last_line(result.output);
      refused(what, fmt::format("it ended with status {}{}{}", result.status,
                                said.empty() ? "" : ": ", said));
    }
  }
}

}  // namespace volseal::escrow
