#!/usr/bin/env bash
# site.sh: the lab from nothing to proved HTTPS. Ends with the exit code of site.yml's run.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '\n=== site %s\n' "$*"; }

say '1/3: the lab, up and whole (minutes the first time, seconds after that)'
make --no-print-directory lab-up
say '2/3: enrol: pins the built-in keys of devices that are met for the first time'
.venv/bin/ansible-playbook playbooks/enrol.yml -i inventories/lab
say '3/3: site.yml: CA, trust, certificates, proof'
exec .venv/bin/ansible-playbook site.yml -i inventories/lab
