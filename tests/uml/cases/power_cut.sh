# shellcheck shell=bash
# The sandbox itself: a power cut takes what was not synced, and nothing else.
# root: disk
# cut 1: written

phase_1() {
  echo synced >/etc/volseal/synced
  sync
  echo lost >/etc/volseal/lost
  remember kept "not the disk's"
  echo written
  sleep infinity
}

phase_2() {
  expect_equal "$(cat /etc/volseal/synced)" synced
  expect_equal "$(recall kept)" "not the disk's"
  test ! -s /etc/volseal/lost || fail "what was never synced is there"
}
