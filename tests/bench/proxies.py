# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The proxies that do the same job for TCP, each configured as its manual advises.

HAProxy: req.payload in tcp-request content rules. Its length is kept in a variable first: used in
the rule itself it makes every connection wait for the whole inspect-delay, because more might come.
sslh: a regex for each tag. Both know the servers by the loopback address, as they would.
"""

import shutil

from lib.waiting import wait_until


def haproxy(folder, port, routes, offset, length):
    """The command; routes: {tag: port}."""
    config = folder / "haproxy.cfg"
    lines = [
        "global",
        "    maxconn 4096",
        "defaults",
        "    mode tcp",
        "    timeout connect 5s",
        "    timeout client 60s",
        "    timeout server 60s",
        "frontend feed",
        f"    bind 0.0.0.0:{port}",
        "    tcp-request inspect-delay 5s",
        "    tcp-request content set-var(txn.length) req.len if { req.len gt 0 }",
        "    tcp-request content reject unless "
        f"{{ var(txn.length) -m int {length[0]}:{length[1]} }}",
    ]
    for tag in routes:
        lines.append(f"    use_backend to_{tag} if "
                     f"{{ req.payload({offset},{len(tag)}) -m str {tag} }}")
    for tag, server in routes.items():
        lines += [f"backend to_{tag}", f"    server one 127.0.0.1:{server}"]
    config.write_text("\n".join(lines) + "\n")
    return ["haproxy", "-db", "-f", str(config)]


def sslh(folder, name, port, routes, offset):
    """The command; name: sslh (a process for each connection) or sslh-select (one for all)."""
    config = folder / f"{name}.cfg"
    protocols = ",\n".join(
        f'    {{ name: "regex"; host: "127.0.0.1"; port: "{server}"; '
        f'regex_patterns: [ "^.{{{offset}}}{tag}" ]; log_level: 0; }}'
        for tag, server in routes.items())
    config.write_text(f"""foreground: true;
inetd: false;
numeric: true;
timeout: 5;
pidfile: "{folder}/{name}.pid";
listen: ( {{ host: "0.0.0.0"; port: "{port}"; }} );
protocols: (
{protocols}
);
""")
    # It forks, and what it forks would outlive it: in a PID namespace all end with the first.
    return ["unshare", "--pid", "--fork", "--kill-child", name, f"--config={config}"]


def start(namespace, command, port, log):
    """Starts one and waits until it listens."""
    with open(log, "w") as output:
        child = namespace.spawn(command, stdout=output, stderr=output)
    listening = f":{port} "
    if not wait_until(lambda: child.poll() is not None
                      or listening in namespace.run("ss -Hltn"), timeout=20, step=0.05) \
            or child.poll() is not None:
        raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-400:]}")
    return child


def absent():
    """Those that are not installed."""
    return [name for name in ("haproxy", "sslh", "sslh-select") if not shutil.which(name)]
