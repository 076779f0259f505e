#!/usr/bin/env bash
# Prepares a folder for a GPU machine without network: the wheels that it lacks (Python 3.12, x86_64 Linux), the two
# training files of Fashion-MNIST, and the commit. Run it in the repository, where there is a network, then carry the
# tree along with the folder:
#
#     benchmarks/gpu/pack.sh [wheels] [FOLDER OF THE IDX FILES]
set -euo pipefail
out=${1:-wheels}
data=${2:-/usr/share/datasets/fashion-mnist}
mkdir -p "$out/fashion-mnist"
for name in train-images-idx3-ubyte train-labels-idx1-ubyte; do
    if [ -e "$data/$name.gz" ]; then
        cp "$data/$name.gz" "$out/fashion-mnist/$name.gz"
    elif [ -e "$data/$name" ]; then
        gzip -9nc "$data/$name" > "$out/fashion-mnist/$name.gz"
    else
        echo "pack.sh: $data must hold $name, or $name.gz; install Debian's package dataset-fashion-mnist, or name a folder" >&2
        exit 69
    fi
done
git rev-parse HEAD > "$out/commit"
rm -f "$out"/*.whl
python3 -m pip download --quiet --disable-pip-version-check --only-binary=:all: --no-deps --python-version 3.12 \
    --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --platform any -d "$out" \
    gin-config annotated-types torch-fidelity clean-fid lmdb diffusers rich pygments markdown-it-py mdurl \
    ruamel.yaml ruamel.yaml.clib
size=$(($(git ls-files -z | xargs -0 du -cb | tail -1 | cut -f1) + $(du -sb "$out" | cut -f1)))
echo "$out: $(du -sh "$out" | cut -f1); $((size / 1048576)) MiB with the tree, of at most 64"
[ "$size" -lt $((64 * 1048576)) ]
