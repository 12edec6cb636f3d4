# shellcheck shell=bash
# The power goes right after each write of the journal, while a server of three volumes is enrolled; in the
# long run also before each sync, rename and removal within each phase. What holds after each cut is what
# enroll_random_cuts demands.
# disk: data 128M
# disk: blank 96M
# disk: swap 96M
# root: disk
# timeout: 300
# driver: cut-steps --only-journal --at-least 20
# long: cut-steps --at-least 80

# shellcheck source=tests/uml/server-lib.sh
. "$SOURCE/tests/uml/server-lib.sh"

phase_cut() { cut_enrollment; }
