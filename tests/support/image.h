// Image files for tests: no device-mapper, no root file system of anybody.
#pragma once

#include "core/base/file.h"
#include "core/base/process.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace volseal {

class ImageTest : public ::testing::Test {
 protected:
  ImageTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "volseal-image.XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
  }
  ~ImageTest() override { std::filesystem::remove_all(folder); }

  // A sparse image of zeros.
  Path blank(const std::string& name, std::uint64_t mebibytes) const {
    const Path path = folder / name;
    std::ofstream(path).close();
    std::filesystem::resize_file(path, mebibytes << 20U);
    return path;
  }

  // An ext4 image with some megabytes of files from /usr/share/common-licenses and random ones.
  Path ext4(const std::string& name, std::uint64_t mebibytes) const {
    const Path path = blank(name, mebibytes);
    const Path tree = folder / (name + ".tree");
    std::filesystem::create_directory(tree);
    run_or_throw({"dd", "if=/dev/urandom", "of=" + (tree / "random").native(), "bs=1M", "count=4"});
    run_or_throw({"cp", "-r", "/usr/share/common-licenses", (tree / "licenses").native()});
    run_or_throw({"mke2fs", "-q", "-t", "ext4", "-L", "data", "-d", tree.native(), path.native()});
    return path;
  }

  // SHA-256 of a range of a file, by coreutils.
  static std::string digest(const Path& path, std::uint64_t offset = 0) {
    return run_or_throw(
               {"sh", "-c",
                "tail -c +" + std::to_string(offset + 1) + " '" + path.native() + "' | sha256sum"})
        .output;
  }

  // What `debugfs` finds of a file inside an ext4 image that begins at `offset`.
  static std::string file_in_ext4(const Path& image, const std::string& name, const Path& out) {
    run_or_throw({"debugfs", "-R", "dump " + name + " " + out.native(), image.native()});
    return digest(out);
  }

  Path folder;
};

}  // namespace volseal
