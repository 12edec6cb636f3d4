# shellcheck shell=bash
# The power goes at random moments while a server of three volumes is enrolled, again and again. After each
# cut every volume has a proven way to open it, and the same command goes on; in the end the files are the
# same, and neither old plaintext nor a key lies on any disk.
# disk: data 288M
# disk: blank 96M
# disk: swap 96M
# root: disk
# timeout: 300
# driver: cut-power --cuts 10 --phases 3
# long: cut-power --cuts 200 --phases 12

# shellcheck source=tests/uml/server-lib.sh
. "$SOURCE/tests/uml/server-lib.sh"

phase_cut() { cut_enrollment; }
