#!/usr/bin/env bash
# Installs VS Code to be driven by tests, as code-server has it: `install.sh oldest` or `install.sh current` prints the
# directory, in which `./node out/server-main.js` is the server. With `--if-there` it installs nothing, and fails instead.
#
# Once made it is kept in the user's cache, or in $NREPL_EDITORS. npm's scripts are not run, since they would
# build what a test without a terminal does not need; so its modules are installed apart.
set -euo pipefail
case $1 in
oldest) version=4.100.3 ;; # VS Code 1.100
current) version=4.139.1 ;;
*) echo "install.sh: oldest or current, not $1" >&2 && exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
cache=${NREPL_EDITORS:-${XDG_CACHE_HOME:-$HOME/.cache}/nrepl-py}
made=$cache/code-server-$version
inner=node_modules/code-server/lib/vscode

if [ ! -d "$made" ]; then
    [ "${2:-}" != --if-there ] || exit 1
    mkdir -p "$cache"
    making=$(mktemp -d "$cache/making.XXXXXX")
    trap 'rm -rf "$making"' EXIT
    cd "$making"
    echo '{"private": true}' >package.json
    npm="npm install --omit=dev --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error"
    {
        $npm "code-server@$version"
        wanted=$(sed -n 's/^ *"node": "\([0-9]*\).*/\1/p' node_modules/code-server/package.json)
        if node --version | grep -q "^v$wanted\."; then
            ln -s "$(command -v node)" "$inner/node"
        else
            own=node-linux-$(node --print process.arch)
            $npm "$own@$wanted"
            ln -s "../../../$own/bin/node" "$inner/node"
        fi
        for directory in "$inner" "$inner/extensions"; do (cd "$directory" && $npm); done
    } >&2
    [ -x "$inner/node" ]
    cp "$here/spdlog.js" "$inner/node_modules/@vscode/spdlog/index.js"
    mv -T "$making" "$made" || [ -d "$made" ] # another run was faster
fi
echo "$made/$inner"
