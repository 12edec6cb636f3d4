#include "core/base/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace volseal {
namespace {

using ::testing::ElementsAre;

TEST(TextTable, AlignsColumnsWithoutTrailingSpace) {
  EXPECT_EQ(render_table({{{"a"}, {"bb"}}, {{"ccc"}, {""}}, {{""}, {"d"}}}, 80, false),
            "a    bb\nccc\n     d\n");
}

TEST(TextTable, WrapsTheWidestColumn) {
  EXPECT_EQ(render_table({{{"name"}, {"some words to wrap"}}}, 16, false),
            "name  some words\n      to wrap\n");
}

TEST(TextTable, CountsWideCharactersTwiceAndColourNot) {
  EXPECT_EQ(render_table({{{"漢字", "1"}, {"x"}}, {{"abcd"}, {"y"}}}, 80, true),
            "\x1b[1m漢字\x1b[0m  x\nabcd  y\n");
}

TEST(TextTable, BreaksWordsThatAreTooLong) {
  EXPECT_THAT(wrap("/dev/mapper/very-long x", 8), ElementsAre("/dev/map", "per/very", "-long x"));
  EXPECT_THAT(wrap("漢字漢字", 3), ElementsAre("漢", "字", "漢", "字"));
  EXPECT_THAT(wrap("", 5), ElementsAre(""));
  EXPECT_THAT(wrap("a  b", 80), ElementsAre("a  b"));
}

}  // namespace
}  // namespace volseal
