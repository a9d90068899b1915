#!/bin/busybox sh
# The guest's first and only service: it runs the suites of /job.sh. What they say goes to the
# second serial port, in between lines that begin with `@`; the first one is the kernel's.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
$bb mount -t tmpfs tmpfs /tmp
$bb mount -t tmpfs tmpfs /run
$bb mount -t bpf bpf /sys/fs/bpf
exec < /dev/null > /dev/ttyS1 2>&1
export PATH=/bin HOME=/root FILTER_CTL=/bin/filter-ctl

# suite NAME SECONDS PROGRAM ARGUMENTS…
suite() {
    name=$1 limit=$2
    shift 2
    echo "@suite $name"
    begin=$($bb date +%s)
    $bb timeout -s KILL "$limit" "$@"
    code=$?
    echo "@exit $code $(($($bb date +%s) - begin))"
}

echo "@boot $($bb uname -r)"
for module in $($bb cat /modules/order); do
    $bb insmod "/modules/$module" || echo "@missing $module"
done
$bb ip link set lo up
cd /root
. /job.sh
echo "@end"
$bb poweroff -f
