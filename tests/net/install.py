"""The packages and the image, installed where nothing else is.

1. A bare Debian: the deb is installed, and the unit's command line runs as the unit says, as a user without rights. It
   is ready, healthy, answers probes of each kind, takes a changed configuration at a reload, and ends. An upgrade keeps
   that configuration. After a purge nothing is left but data.
2. The same for the rpm, by rpm itself in a root with a database of its own.
3. The image of the Containerfile, built without an engine: its command line runs as its user, with a root of its own.
4. Files, owners, modes and scripts of all three are as in tests/net/snapshots. LM_RENEW=1 writes them anew.
5. What the packages require is what the binary is linked to. Packing twice makes the same packages.
"""

import contextlib
import filecmp
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tarfile

from lab import FAR, ROOT, Failed, expect, run as command
from programs import BARE_ROOT

SNAPSHOTS = ROOT / "tests" / "net" / "snapshots"
# One of those that DynamicUser takes.
USER = 61_234
OF_IMAGE = 65_532
UNIT = "usr/lib/systemd/system/latency-monitor.service"
CONFIGURATION = "etc/latency-monitor/latency.toml"
# What dpkg and rpm write for themselves.
OWN_RECORDS = re.compile(r"var/(lib/dpkg|cache|log/dpkg\.log|lib/systemd/deb-systemd-helper-masked)|root/\.rpmdb")
# Folders of all programs, which a distribution with rpm has.
SHARED = {"usr/share/licenses", "usr/share/fish", "usr/share/fish/vendor_completions.d", "usr/share/zsh", "usr/share/zsh/site-functions"}
STORE = ["--storage-driver", "vfs"]


def run(lab):
    near, far = lab.ends()
    packages = build(lab, "packages")
    requirements(lab, packages)
    again = build(lab, "again")
    for package in packages.values():
        expect(filecmp.cmp(package, again[package.suffix], shallow=False), f"{package.name} differs when packed again")
    deb(lab, near, far, packages[".deb"])
    rpm(lab, near, far, packages[".rpm"])
    image(lab, near, far)


def build(lab, name):
    """Makes the packages of the binary under test; returns the deb and the rpm by suffix."""
    folder = lab.folder / name
    command(str(ROOT / "packaging" / "build"), "--quick", "--bin", str(lab.binary), "--out", str(folder))
    sums = next(folder.glob("SHA256SUMS-*"))
    subprocess.run(["sha256sum", "--quiet", "-c", sums.name], cwd=folder, check=True)
    listed = sums.read_text()
    for path in folder.iterdir():
        expect(path == sums or path.name in listed, f"{path.name} has no sum")
    components = json.loads(next(folder.glob("*.cdx.json")).read_text())["components"]
    expect({"mio", "rustls", "redb"} <= {one["name"] for one in components}, "the list of components lacks some")
    return {path.suffix: path for path in folder.iterdir() if path.suffix in (".deb", ".rpm")}


def requirements(lab, packages):
    """Holds what the packages require against what the loader will look for."""
    needed, newest, library = set(), {}, None
    for line in command("objdump", "-p", str(lab.binary)).splitlines():
        words = line.split()
        if words[:1] == ["NEEDED"]:
            needed.add(words[1])
        elif line.startswith("  required from"):
            library = words[2].rstrip(":")
        elif library and len(words) == 4 and re.fullmatch(r"(GLIBC|GLIBCXX)_[0-9.]+", words[3]):
            version = tuple(map(int, words[3].split("_")[1].split(".")))
            newest[library] = max(newest.get(library, version), version)
    required = command("rpm", "-qp", "--requires", str(packages[".rpm"])).split()
    wanted = {re.match(r"[^(]+", word)[0]: word for word in required if ".so." in word}
    loader = {name for name in needed if name.startswith("ld-linux")}
    expect(needed - loader == wanted.keys(), f"linked to {sorted(needed)}, and the rpm requires {sorted(wanted)}")
    for library, version in newest.items():
        if found := re.search(r"\(GLIBC(?:XX)?_([0-9.]+)\)", wanted.get(library, "")):
            stated = tuple(map(int, found[1].split(".")))
            expect(version <= stated, f"{library} is to have {version}, and the rpm requires {stated}")
    depends = command("dpkg-deb", "-f", str(packages[".deb"]), "Depends")
    glibc, = re.findall(r"libc6 \(>= ([0-9.]+)\)", depends)
    expect(newest["libc.so.6"] <= tuple(map(int, glibc.split("."))), f"{newest}, and the deb depends on {depends}")
    # The release of GCC in which libstdc++ got these symbols: docs of libstdc++, "ABI Policy and Guidelines".
    release = {29: 11, 30: 12}.get(newest.get("libstdc++.so.6", (3, 4, 29))[-1], 99)
    stated, = re.findall(r"libstdc\+\+6 \(>= ([0-9]+)\)", depends)
    expect(release <= int(stated), f"{newest}, and the deb depends on {depends}")


def deb(lab, near, far, package):
    root = bare_root(lab, "debian")
    compare(lab, "deb", listing(command("dpkg-deb", "-c", str(package))) + scripts_of(lab, package))
    # Debian's own rules for packages.
    command("lintian", "--allow-root", "--fail-on", "error", str(package))
    before = tree(root)
    shutil.copy(package, root / "package.deb")
    inside = lambda *words: command("chroot", str(root), *words)
    inside("dpkg", "--install", "/package.deb")
    wants = root / "etc/systemd/system/multi-user.target.wants/latency-monitor.service"
    expect(wants.is_symlink(), "the unit is not enabled")
    expect(f"/{CONFIGURATION}" in inside("dpkg-query", "-W", "-f", "${Conffiles}", "latency-monitor"), "no conffile")
    with running(lab, "deb", root, far) as unit:
        lives(lab, "deb", near, unit)
    # An upgrade keeps what was changed.
    inside("dpkg", "--install", "/package.deb")
    expect("# changed" in (root / CONFIGURATION).read_text(), "an upgrade has replaced the configuration")
    inside("dpkg", "--purge", "latency-monitor")
    (root / "package.deb").unlink()
    nothing_left(root, before, "the purge")
    lab.note("deb: installed, probed, reloaded, upgraded, purged")


def rpm(lab, near, far, package):
    root = bare_root(lab, "rpm")
    form = "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES} %{FILEFLAGS:fflags}\n]"
    compare(lab, "rpm", command("rpm", "-qp", "--qf", form, str(package)) + command("rpm", "-qp", "--scripts", str(package)))
    before = tree(root)
    ours = ["rpm", "--root", str(root), "--nosignature"]
    command(*ours, "--initdb")
    # Its requirements are looked at above: the libraries here are known to dpkg.
    command(*ours, "--nodeps", "--install", str(package))
    with running(lab, "rpm", root, far) as unit:
        lives(lab, "rpm", near, unit)
    command(*ours, "--erase", "latency-monitor")
    # An rpm keeps a configuration that was changed, and logs.
    kept = {f"{CONFIGURATION}.rpmsave", "etc/latency-monitor", "var/log/latency-monitor", *SHARED}
    nothing_left(root, before, "the removal", kept)
    lab.note("rpm: installed, probed, reloaded, removed")


def bare_root(lab, name):
    root = lab.folder / name
    root.mkdir()
    with tarfile.open(BARE_ROOT) as archive:
        archive.extractall(root, filter="fully_trusted")
    return root


def tree(root):
    """Returns each path of a root with what it is, but for what package managers keep for themselves."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = pathlib.Path(folder) / name
            known = path.relative_to(root).as_posix()
            if not OWN_RECORDS.match(known):
                found[known] = os.readlink(path) if path.is_symlink() else oct(path.lstat().st_mode)
    return found


def nothing_left(root, before, what, also=frozenset()):
    left = {path for path, is_now in tree(root).items() if before.get(path) != is_now}
    left = {path for path in left - set(also) if not path.startswith("var/lib/latency-monitor")}
    expect(not left, f"{what} has left {sorted(left)[:20]}")
    expect(before.keys() <= tree(root).keys(), f"{what} has removed what was there before")
    kept = root / "var/lib/latency-monitor/spool/of-the-lab"
    expect(kept.read_text() == "data", f"{what} has removed data")


def scripts_of(lab, package):
    folder = lab.folder / "control"
    command("dpkg-deb", "-e", str(package), str(folder))
    scripts = ["conffiles", "postinst", "prerm", "postrm"]
    return "".join(f"--- {name}\n{(folder / name).read_text()}" for name in scripts)


def listing(text):
    """Modes, owners and names, without sizes and times."""
    lines = [line.split(maxsplit=5) for line in text.splitlines()]
    return "".join(f"{words[0]} {words[1]} {words[5]}\n" for words in sorted(lines, key=lambda words: words[5]))


def compare(lab, name, text):
    path = SNAPSHOTS / f"install_{name}.txt"
    if os.environ.get("LM_RENEW"):
        SNAPSHOTS.mkdir(exist_ok=True)
        path.write_text(text)
    (lab.folder / path.name).write_text(text)
    wanted = path.read_text() if path.exists() else ""
    changed = set(wanted.splitlines()) ^ set(text.splitlines())
    expect(text == wanted, f"{path.name} is not what is there, LM_RENEW=1 writes it: {sorted(changed)[:10]}")


class Unit:
    """A daemon that runs in a root as its unit says, without systemd: directories, user, command line, readiness."""

    def __init__(self, lab, name, root, namespace):
        self.root, self.namespace = root, namespace
        keys = {}
        for line in (root / UNIT).read_text().splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                keys.setdefault(key, []).append(value)
        for base, key in (("var/lib", "StateDirectory"), ("var/log", "LogsDirectory"), ("run", "RuntimeDirectory")):
            for one in keys[key][0].split():
                (root / base / one).mkdir()
                os.chown(root / base / one, USER, USER)
        (root / "var/lib/latency-monitor/spool/of-the-lab").write_text("data")
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # In a folder that only the daemon sees, as systemd's is.
        path = root / "run/latency-monitor/notify"
        self.told.bind(str(path))
        os.chown(path, USER, USER)
        self.told.settimeout(30)
        self.reload = keys["ExecReload"][0]
        self.daemon = lab.start(
            name,
            self.words(USER, "env", "NOTIFY_SOCKET=/run/latency-monitor/notify", *keys["ExecStart"][0].split()),
            namespace=namespace,
            logs_to_stdout=True,
            cwd="/",
        )

    def words(self, user, *words):
        """A command line in the root, with /proc, as a user."""
        inside = f'mount -t proc proc {self.root}/proc && exec chroot --userspec={user}:{user} {self.root} "$@"'
        return ["sh", "-c", inside, "sh", *words]

    def run(self, *words):
        return command("ip", "netns", "exec", self.namespace, *self.words(0, *words))

    def wait_for(self, state):
        while True:
            try:
                told = self.told.recv(4096).decode().splitlines()
            except TimeoutError:
                raise Failed(f"the daemon has not told {state}: {self.daemon.log()[-1000:]}") from None
            if state in told:
                return


@contextlib.contextmanager
def running(lab, name, root, namespace):
    unit = Unit(lab, name, root, namespace)
    try:
        unit.wait_for("READY=1")
        yield unit
        code, _ = unit.daemon.end()
        expect(code == 0, f"the daemon ended with {code}: {unit.daemon.log()[-500:]}")
    finally:
        unit.told.close()
        # As systemd does with a RuntimeDirectory.
        shutil.rmtree(root / "run/latency-monitor")


def lives(lab, name, near, unit):
    """Probes the daemon from elsewhere, asks after its health, and gives it another configuration."""
    status = pathlib.Path(f"/proc/{unit.daemon.pid}/status").read_text()
    expect(f"Uid:\t{USER}\t{USER}" in status, f"it runs as another user: {status}")
    expect("CapEff:\t0000000000000000" in status, f"it has rights: {status}")
    probe(lab, near)
    health(unit)
    path = unit.root / CONFIGURATION
    path.write_text(path.read_text() + '\n# changed\n[[targets]]\nhost = "127.0.0.1"\nlabel = "itself"\ninterval = 10\n')
    expect(unit.reload == "/bin/kill -HUP $MAINPID", f"the unit reloads by {unit.reload}")
    unit.daemon.send(signal.SIGHUP)
    unit.daemon.wait_for_log("added=1")
    health(unit)


def health(unit):
    """Fails if the daemon says that it is not well."""
    unit.run("/usr/bin/latency-monitor", "health", "-c", f"/{CONFIGURATION}")


def probe(lab, near):
    """Probes FAR over UDP, over TCP, and by connects."""
    for flow in (["--udp", "8001"], ["--tcp", "8000"], ["--connect", "8000"]):
        command("ip", "netns", "exec", near, str(lab.binary), "ping", "-q", "-c", "5", "-i", "10ms", *flow, FAR)


def image(lab, near, far):
    folder, store = lab.folder / "image", lab.folder / "store"
    command(str(ROOT / "packaging" / "image" / "collect"), str(folder))
    buildah = lambda *words: command("buildah", "--root", str(store), "--runroot", f"{store}-run", *STORE, *words)
    try:
        containerfile = str(ROOT / "packaging" / "image" / "Containerfile")
        buildah("build", "--isolation", "chroot", "--format", "docker", "--timestamp", "0", "-t", "lab", "-f", containerfile, str(folder))
        container = buildah("from", "lab").strip()
        root = pathlib.Path(buildah("mount", container).strip())
        inspected = json.loads(buildah("inspect", "--type", "image", "lab"))["Docker"]["config"]
        compare(lab, "image", describe(root, inspected))
        runs(lab, near, far, root, inspected)
    finally:
        with contextlib.suppress(Failed):
            buildah("rm", "--all")
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(f"{store}-run", ignore_errors=True)


def describe(root, config):
    """What the image says of itself, and its files, but for the versions of libraries."""
    kept = {key: config[key] for key in ("User", "ExposedPorts", "Entrypoint", "Cmd", "WorkingDir", "StopSignal", "Healthcheck")}
    lines = [json.dumps(kept, indent=1, sort_keys=True)]
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        lines.append(f"{about.st_mode:o} {about.st_uid}/{about.st_gid} {path.relative_to(root)}")
    return "\n".join(lines) + "\n"


def runs(lab, near, far, root, config):
    """Runs it as its image says: command line, user, nothing but its root."""
    user, words = config["User"], [*config["Entrypoint"], *config["Cmd"]]
    expect(user == f"{OF_IMAGE}:{OF_IMAGE}", f"it runs as {user}")
    (root / "proc").mkdir(exist_ok=True)
    inside = lambda *words: ["sh", "-c", f'mount -t proc proc {root}/proc && exec chroot --userspec={user} {root} "$@"', "sh", *words]
    daemon = lab.start("image", inside(*words), namespace=far, logs_to_stdout=True, cwd="/")
    daemon.wait_for_log("answering HTTP")
    probe(lab, near)
    test = config["Healthcheck"]["Test"]
    expect(test[0] == "CMD", f"its health check is {test}")
    command("ip", "netns", "exec", far, *inside(*test[1:]))
    code, _ = daemon.end(getattr(signal, config["StopSignal"]))
    expect(code == 0, f"the image's daemon ended with {code}: {daemon.log()[-500:]}")
    dead = subprocess.run(["ip", "netns", "exec", far, *inside(*test[1:])], capture_output=True)
    expect(dead.returncode != 0, "a daemon that has ended is healthy")
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
    lab.note(f"image: {size / 1e6:.1f} MB of files, healthy as user {user}")
