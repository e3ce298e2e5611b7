#!/bin/sh
# Regenerates the Go code of api/penstock/v1. Needs protoc (>= 3.21) on the PATH;
# the plug-ins come from go.mod's tool lines.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
for p in protoc-gen-go protoc-gen-go-grpc protoc-gen-connect-go; do
	printf '#!/bin/sh\nexec go tool %s\n' "$p" >"$bin/$p"
	chmod +x "$bin/$p"
done
PATH="$bin:$PATH" protoc -I . \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative,require_unimplemented_servers=false \
	--connect-go_out=. --connect-go_opt=paths=source_relative,simple \
	penstock/v1/*.proto
