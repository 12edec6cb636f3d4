// Escrow as people use it: enrolled only once it is acknowledged, listed, verified, opened,
// renewed.
#include "cli/qr_code.h"
#include "tests/support/certificates.h"
#include "tests/support/image.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace volseal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using Json = nlohmann::json;

struct Result {
  int status = 0;
  std::string out;
  std::string err;
};

class EscrowVerbTest : public ImageTest {
 protected:
  EscrowVerbTest() : vault(folder / "vault") {
    std::filesystem::create_directory(vault);
    for (const char* name : {"alice", "bob", "carol"}) {
      holders.push_back(test::holder(folder, name));
    }
    policy();
  }

  // Without a TPM: what is tried here needs none.
  void policy(int threshold = 1, const std::string& to = {}, const std::string& more = {},
              std::size_t count = 3) const {
    std::string certificates;
    for (std::size_t i = 0; i < count; ++i) {
      certificates += fmt::format("\"{}\", ", holders[i].certificate.native());
    }
    write_file(
        folder / "policy.toml",
        fmt::format("[volumes]\nheader_backups = \"{}\"\n[group.default.tpm]\nenabled = "
                    "false\n[group.default.escrow]\ncertificates = [{}]\nthreshold = {}\n"
                    "{}\n{}\n",
                    (folder / "headers").native(), certificates, threshold,
                    to.empty() ? fmt::format("directory = \"{}\"", vault.native()) : to, more));
  }

  // A shell only to keep the two outputs apart.
  Result volseal(const std::vector<std::string>& arguments, const std::string& input = {},
                 const std::string& redirect = {}) const {
    std::vector<std::string> argv = {
        "sh",
        "-c",
        R"(out=$1; err=$2; shift 2; exec "$@" >"$out" 2>"$err" )" + redirect,
        "sh",
        (folder / "stdout").native(),
        (folder / "stderr").native(),
        VOLSEAL_BINARY,
        "--policy",
        (folder / "policy.toml").native(),
        "--state",
        (folder / "state").native()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const int status = run(argv, input).status;
    return {
        .status = status, .out = read_file(folder / "stdout"), .err = read_file(folder / "stderr")};
  }

  // A LUKS2 image made by somebody else, that "passphrase" opens.
  Path luks2(const std::string& name) const {
    const Path image = blank(name, 32);
    write_file(folder / "key", "passphrase");
    run_or_throw({"cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2",
                  "--pbkdf-force-iterations", "1000", image.native(), (folder / "key").native()});
    return image;
  }

  std::string key() const { return (folder / "key").native(); }
  std::string key_of(std::size_t holder) const { return holders[holder].key.native(); }

  std::vector<std::string> blobs() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(vault)) {
      names.push_back(entry.path().native());
    }
    std::ranges::sort(names);
    return names;
  }

  std::string audit() const { return read_file(folder / "state/audit.log"); }

  int cryptsetup_opens(const Path& image, const Path& key_file) const {
    return run({"cryptsetup", "open", "--test-passphrase", "--key-file", key_file.native(),
                image.native()})
        .status;
  }

  Path vault;
  std::vector<test::Holder> holders;
};

TEST_F(EscrowVerbTest, AnEnrolledVolumesOnlyKeyIsInEscrow) {
  const Path image = ext4("data.img", 64);
  // Nobody is there to take a key, and nobody needs to be.
  const Result enrolled = volseal({"enroll", "--yes", image.native()});
  ASSERT_EQ(enrolled.status, 0) << enrolled.err;
  EXPECT_THAT(enrolled.err, HasSubstr("is in escrow, and nowhere else"));
  ASSERT_THAT(blobs(), SizeIs(1));

  const Result listed = volseal({"escrow", "list", image.native()});
  EXPECT_EQ(listed.status, 0) << listed.err;
  EXPECT_THAT(listed.out, AllOf(HasSubstr("good"), HasSubstr("1 of 3"), HasSubstr("CN=bob")));
  const Json list = Json::parse(volseal({"escrow", "list", "--json", image.native()}).out);
  EXPECT_EQ(list["schema"], "volseal-escrow-list/1");
  EXPECT_EQ(list["volumes"][0]["escrow"]["keyslot"], 0);
  EXPECT_EQ(list["volumes"][0]["escrow"]["age_days"], 0);
  EXPECT_THAT(list["volumes"][0]["escrow"]["certificates"], SizeIs(3));
  EXPECT_THAT(blobs()[0], HasSubstr(list["volumes"][0]["escrow"]["blob"].get<std::string>()));

  const Json check = Json::parse(volseal({"check", "--json", image.native()}).out);
  EXPECT_EQ(check["volumes"][0]["escrows"][0]["threshold"], 1);
  EXPECT_EQ(check["volumes"][0]["escrows"][0]["to"], "directory");
  EXPECT_THAT(volseal({"check", image.native()}).out,
              HasSubstr("recovery key (keyslot 0) in escrow since 20"));

  // Every holder's key proves it; nothing of the key is said.
  for (std::size_t i = 0; i < holders.size(); ++i) {
    const Result verified =
        volseal({"escrow", "verify", blobs()[0], "--key", key_of(i), "--volume", image.native()});
    EXPECT_EQ(verified.status, 0) << verified.err;
    EXPECT_THAT(verified.out, HasSubstr("opens keyslot 0"));
  }
  EXPECT_EQ(volseal({"escrow", "verify", blobs()[0], "--key", key_of(0)}).status, 3);
  ASSERT_EQ(volseal({"escrow", "open", blobs()[0], "--key", key_of(0), "--output",
                     (folder / "recovered").native()})
                .status,
            0);
  EXPECT_EQ(cryptsetup_opens(image, folder / "recovered"), 0);
  const std::string recovered = read_file(folder / "recovered");
  EXPECT_EQ(std::filesystem::status(folder / "recovered").permissions(),
            std::filesystem::perms(0600));
  for (const std::string& said : {enrolled.out, enrolled.err, listed.out, audit()}) {
    EXPECT_THAT(said, Not(HasSubstr(recovered.substr(0, 8))));
  }
  EXPECT_THAT(audit(), AllOf(HasSubstr("escrow.deposit"), HasSubstr("escrow.verify"),
                             HasSubstr("escrow.open")));
  // And openssl needs no volseal.
  const ProcessResult opened =
      run({"openssl", "cms", "-decrypt", "-inform", "PEM", "-in", blobs()[0], "-inkey", key_of(1),
           "-recip", holders[1].certificate.native()});
  EXPECT_EQ(Json::parse(opened.output)["recovery_key"], recovered);
}

TEST_F(EscrowVerbTest, WhatNobodyAcknowledgesTouchesNothing) {
  const Path image = ext4("data.img", 64);
  const Path luks = luks2("luks.img");
  const std::string before = digest(image);
  const std::string luks_before = run_or_throw({"cryptsetup", "luksDump", luks.native()}).output;
  const Path put = folder / "put";
  const auto script = [&](const std::string& text) {
    write_file(put, "#!/bin/sh\n" + text);
    std::filesystem::permissions(put, std::filesystem::perms(0755));
  };
  const auto refused = [&](const std::string& says) {
    for (const auto& verb :
         {std::vector<std::string>{"enroll", "--yes", image.native()},
          {"enroll", "--yes", "--key-file", key(), luks.native()},
          {"protector", "add", "recovery-key", "--key-file", key(), luks.native()},
          {"escrow", "renew", "--key-file", key(), luks.native()}}) {
      const Result result = volseal(verb);
      EXPECT_EQ(result.status, 5) << verb[0] << result.err;
      EXPECT_THAT(result.err, HasSubstr(says)) << verb[0];
    }
    EXPECT_EQ(digest(image), before) << says;
    EXPECT_EQ(run({"cryptsetup", "isLuks", image.native()}).status, 1);
    // Only its sequence number may differ: a keyslot came and went.
    const std::string after = run_or_throw({"cryptsetup", "luksDump", luks.native()}).output;
    EXPECT_EQ(after.substr(after.find("UUID")), luks_before.substr(luks_before.find("UUID")));
  };
  const auto command = [&](const char* more = "") {
    policy(1, fmt::format("command = [\"{}\"]", put.native()), more);
  };
  script("cat >/dev/null; echo vault closed; exit 7\n");
  command();
  refused("status 7: vault closed");
  script("exec sleep 1000\n");
  command("timeout = 1");
  refused("did not end within 1 s");
  std::filesystem::remove(put);
  refused("no such program");
  policy(1, fmt::format("directory = \"{}/absent\"", folder.native()));
  refused("is it mounted?");
  policy(1, "directory = \"/proc/sys\"");
  refused("cannot be written");
  write_file(holders[1].certificate, "garbage");
  policy();
  refused("no X.509 certificate");
  test::holder(folder, "bob", {.usage = "digitalSignature"});
  refused("lacks keyAgreement");
  test::holder(folder, "bob", {.usage = "keyEncipherment", .key = test::rsa(2048)});
  refused("fewer than 3072");
  EXPECT_THAT(blobs(), IsEmpty());
  EXPECT_THAT(audit(), AllOf(HasSubstr("escrow.deposit"), HasSubstr("failed")));
}

TEST_F(EscrowVerbTest, TwoOfThreeOpenTogether) {
  policy(2);
  const Path image = luks2("disk.img");
  ASSERT_EQ(
      volseal({"protector", "add", "recovery-key", "--key-file", key(), image.native()}).status, 0);
  const auto shares = blobs();
  ASSERT_THAT(shares, SizeIs(3));
  const Result alone =
      volseal({"escrow", "verify", shares[0], "--key", key_of(0), "--volume", image.native()});
  EXPECT_EQ(alone.status, 6);
  EXPECT_THAT(alone.err, HasSubstr("2 of its 3 shares are needed, and 1 was opened"));
  EXPECT_EQ(volseal({"escrow", "verify", shares[0], shares[2], "--key", key_of(2), "--key",
                     key_of(0), "--volume", image.native()})
                .status,
            0);
  // The wrong holder, a share of another volume, a blob that was changed, no blob at all.
  const Result wrong =
      volseal({"escrow", "verify", shares[0], "--key", key_of(1), "--volume", image.native()});
  EXPECT_EQ(wrong.status, 6);
  EXPECT_THAT(wrong.err, HasSubstr("issuer CN=alice"));
  const Path second = luks2("second.img");
  std::filesystem::rename(vault, folder / "first");
  std::filesystem::create_directory(vault);
  ASSERT_EQ(
      volseal({"protector", "add", "recovery-key", "--key-file", key(), second.native()}).status,
      0);
  std::string mine = shares[0];
  mine.replace(mine.find("/vault/"), 7, "/first/");
  const Result mixed = volseal({"escrow", "verify", mine, blobs()[1], "--key", key_of(0), "--key",
                                key_of(1), "--volume", image.native()});
  EXPECT_EQ(mixed.status, 4);
  EXPECT_THAT(mixed.err, HasSubstr("is of the volume"));
  const Result another = volseal({"escrow", "verify", blobs()[0], blobs()[1], "--key", key_of(0),
                                  "--key", key_of(1), "--volume", image.native()});
  EXPECT_EQ(another.status, 4);
  EXPECT_THAT(another.err, HasSubstr("it is the volume"));
  std::string changed = read_file(mine);
  changed[changed.size() - 60] = changed[changed.size() - 60] == 'A' ? 'B' : 'A';
  write_file(folder / "changed.cms", changed);
  EXPECT_NE(volseal({"escrow", "verify", (folder / "changed.cms").native(), "--key", key_of(0),
                     "--volume", image.native()})
                .status,
            0);
  const Result garbage = volseal({"escrow", "verify", key(), "--key", key_of(0)});
  EXPECT_EQ(garbage.status, 4);
  EXPECT_EQ(std::ranges::count(garbage.err, '\n'), 2) << garbage.err;
}

TEST_F(EscrowVerbTest, RenewingEscrowsTheNewKeyBeforeTheOldOneGoes) {
  const Path image = luks2("disk.img");
  ASSERT_EQ(
      volseal({"protector", "add", "recovery-key", "--key-file", key(), image.native()}).status, 0);
  const std::string old = blobs().at(0);
  std::filesystem::rename(vault, folder / "away");
  EXPECT_EQ(volseal({"escrow", "renew", "--key-file", key(), image.native()}).status, 5);
  std::filesystem::rename(folder / "away", vault);
  EXPECT_EQ(
      volseal({"escrow", "verify", old, "--key", key_of(0), "--volume", image.native()}).status, 0);

  policy(1, {}, {}, 2);  // carol has left
  EXPECT_EQ(volseal({"escrow", "list", image.native()}).status, 1);
  std::filesystem::rename(old, folder / "old.cms");
  const Result renewed = volseal({"escrow", "renew", "--key-file", key(), image.native()});
  ASSERT_EQ(renewed.status, 0) << renewed.err;
  EXPECT_EQ(volseal({"escrow", "verify", (folder / "old.cms").native(), "--key", key_of(0),
                     "--volume", image.native()})
                .status,
            6);
  EXPECT_EQ(
      volseal({"escrow", "verify", blobs().at(0), "--key", key_of(1), "--volume", image.native()})
          .status,
      0);
  EXPECT_EQ(
      volseal({"escrow", "verify", blobs().at(0), "--key", key_of(2), "--volume", image.native()})
          .status,
      6);
  const Json list = Json::parse(volseal({"escrow", "list", "--json", image.native()}).out);
  EXPECT_THAT(list["volumes"], SizeIs(1));
  EXPECT_EQ(list["exit_status"], 0);
  // One token of each kind: systemd knows the keyslot still.
  EXPECT_THAT(run({"systemd-cryptenroll", image.native()}).output, HasSubstr("recovery"));
}

// Somebody with cryptsetup puts another key where the escrowed one was.
TEST_F(EscrowVerbTest, ARecordOfAKeyThatIsGoneCountsForNothing) {
  const Path image = luks2("disk.img");
  ASSERT_EQ(
      volseal({"protector", "add", "recovery-key", "--key-file", key(), image.native()}).status, 0);
  write_file(folder / "new", "another passphrase");
  run_or_throw({"cryptsetup", "luksKillSlot", "-q", "--key-file", key(), image.native(), "1"});
  run_or_throw({"cryptsetup", "luksAddKey", "-q", "--key-slot", "1", "--pbkdf", "pbkdf2",
                "--pbkdf-force-iterations", "1000", "--key-file", key(), image.native(),
                (folder / "new").native()});
  const Result listed = volseal({"escrow", "list", image.native()});
  EXPECT_EQ(listed.status, 1);
  EXPECT_THAT(listed.out, HasSubstr("gone"));
  EXPECT_THAT(volseal({"check", image.native()}).out, HasSubstr("is not in escrow"));
}

TEST_F(EscrowVerbTest, AKeyIsShownOnlyWhereThePolicySaysSo) {
  const Path image = luks2("disk.img");
  const std::vector<std::string> add = {"protector",  "add", "recovery-key",
                                        "--key-file", key(), image.native()};
  EXPECT_THAT(volseal(add).out, IsEmpty());
  policy(1, {}, "show = true");
  EXPECT_THAT(volseal(add).out, SizeIs(72));
  const Path data = ext4("data.img", 64);
  const Path keys = folder / "keys";
  ASSERT_EQ(volseal({"enroll", "--yes", "--recovery-key-dir", keys.native(), data.native()}).status,
            0);
  EXPECT_FALSE(std::filesystem::is_empty(keys));
  EXPECT_THAT(blobs(), SizeIs(3));

  // No terminal, and none is needed for a file.
  const std::string blob = blobs()[0];
  EXPECT_EQ(volseal({"escrow", "open", blob, "--key", key_of(0), "--show"}).status, 64);
  EXPECT_EQ(volseal({"escrow", "open", blob, "--key", key_of(0)}).status, 64);
  EXPECT_EQ(volseal({"escrow", "open", blob, "--key", key_of(0), "--output", key()}).status, 64);
}

// Each square of the page is a dark module of the code that a terminal shows.
std::vector<std::pair<int, int>> squares_of(const std::string& html) {
  std::vector<std::pair<int, int>> squares;
  const std::size_t begin = html.find(" d=\"") + 4;
  std::istringstream path(html.substr(begin, html.find('"', begin) - begin));
  std::string rest;
  for (char move = 0; path >> move;) {
    int x = 0;
    int y = 0;
    path >> x >> y;
    squares.emplace_back(x - QrCode::border, y - QrCode::border);
    std::getline(path, rest, 'z');
    EXPECT_EQ(move, 'M');
    EXPECT_EQ(rest, "h1v1h-1");
  }
  return squares;
}

TEST_F(EscrowVerbTest, APageForTheSafeHasTheKeyAndNothingFromElsewhere) {
  write_file(folder / "policy.toml", "[group.default.tpm]\nenabled = false\n");
  const Path image = luks2("a<b>&.img");
  const Path pages = folder / "pages";
  const Result added =
      volseal({"protector", "add", "recovery-key", "--recovery-page-dir", pages.native(),
               "--no-host-name", "--key-file", key(), image.native()});
  ASSERT_EQ(added.status, 0) << added.err;
  EXPECT_THAT(added.out, IsEmpty());
  EXPECT_THAT(added.err, HasSubstr("shred -u"));
  const Path file = std::filesystem::directory_iterator(pages)->path();
  EXPECT_EQ(std::filesystem::status(file).permissions(), std::filesystem::perms(0600));
  const std::string html = read_file(file);
  EXPECT_THAT(html, AllOf(HasSubstr("a&lt;b&gt;&amp;.img"), Not(HasSubstr("a<b>")),
                          Not(HasSubstr("Machine")), Not(HasSubstr("<script")),
                          Not(HasSubstr("http:")), Not(HasSubstr("src="))));

  // The key on it opens, and the squares are its code.
  const std::size_t begin = html.find("class=\"key\">") + 12;
  std::string text = html.substr(begin, html.find("</p>", begin) - begin);
  text.erase(text.find("<br>"), 4);
  write_file(folder / "from-page", text);
  EXPECT_EQ(cryptsetup_opens(image, folder / "from-page"), 0);
  const QrCode code(Secret::copy_of(text));
  std::vector<std::pair<int, int>> dark;
  for (int y = 0; y < code.size(); ++y) {
    for (int x = 0; x < code.size(); ++x) {
      if (code.dark(x, y)) dark.emplace_back(x, y);
    }
  }
  EXPECT_EQ(squares_of(html), dark);

  // With the machine's name, and from an enrollment, with nobody at a terminal.
  const Path data = ext4("data.img", 64);
  ASSERT_EQ(
      volseal({"enroll", "--yes", "--recovery-page-dir", pages.native(), data.native()}).status, 0);
  const std::string uuid =
      run_or_throw({"cryptsetup", "luksUUID", data.native()}).output.substr(0, 36);
  EXPECT_THAT(read_file(pages / (uuid + ".recovery-key.html")), HasSubstr("Machine"));
}

TEST_F(EscrowVerbTest, ThePolicyIsTriedBeforehand) {
  const std::vector<std::string> check = {"policy", "check", (folder / "policy.toml").native()};
  const Result good = volseal(check);
  EXPECT_EQ(good.status, 0) << good.err;
  EXPECT_THAT(good.out, AllOf(HasSubstr("1 of 3 open it together"), HasSubstr("CN=carol")));
  policy(1, "directory = \"/nowhere\"");
  const Result absent = volseal(check);
  EXPECT_EQ(absent.status, 78);
  EXPECT_THAT(absent.err, HasSubstr("[group.default.escrow]: escrow to the directory /nowhere"));
  policy();
  write_file(holders[1].certificate, "garbage");
  EXPECT_EQ(volseal(check).status, 78);
}

TEST_F(EscrowVerbTest, ADescriptorTakesThePlaceOfTheDestination) {
  policy(1, "directory = \"/nowhere\"");
  const Path image = luks2("disk.img");
  const Path out = folder / "out.cms";
  const Result added = volseal(
      {"protector", "add", "recovery-key", "--escrow-fd", "3", "--key-file", key(), image.native()},
      {}, "3>" + out.native());
  ASSERT_EQ(added.status, 0) << added.err;
  EXPECT_EQ(
      volseal({"escrow", "verify", out.native(), "--key", key_of(2), "--volume", image.native()})
          .status,
      0);
  EXPECT_EQ(volseal({"protector", "add", "recovery-key", "--escrow-fd", "9", "--key-file", key(),
                     image.native()})
                .status,
            64);
}

}  // namespace
}  // namespace volseal
