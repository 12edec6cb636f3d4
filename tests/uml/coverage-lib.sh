# shellcheck shell=bash
# What the cases about coverage share: the verdicts that `volseal check --json` left in /run/verdicts, and partitioned disks.

# expect_verdict PATH VERDICT [WORDS]: of the volume, with a reason that contains the words.
expect_verdict() {
  python3 - "$@" <<'PYTHON' || fail "$*"
import json, sys
path, wanted, words = sys.argv[1], sys.argv[2], (sys.argv[3:] + [''])[0]
volumes = [v for v in json.load(open('/run/verdicts'))['volumes'] if v['path'] == path]
if wanted == 'none':
    sys.exit(f'{path} is a volume' if volumes else 0)
if len(volumes) != 1:
    sys.exit(f'{path} is {len(volumes)} volumes')
found = volumes[0]
print(path, found['verdict'], found['reasons'])
if found['verdict'] != wanted or words not in ' '.join(found['reasons']):
    sys.exit(f'wanted {wanted} {words}')
PYTHON
}

partitioned() { # DISK SIZES...
  local disk=$1 size
  shift
  { echo 'label: gpt' && for size; do echo ",$size"; done; } | sfdisk -q "$disk"
  udevadm settle
}
