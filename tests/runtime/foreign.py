# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Somebody else's XDP and TC programs (foreign.bpf.c), attached by libbpf as another tool would."""

import ctypes
import functools
import os
import pathlib
import socket
import subprocess

import objects
from lib.mplex import CLANG

SOURCE = pathlib.Path(__file__).with_name("foreign.bpf.c")

TCX_INGRESS, TCX_EGRESS = 46, 47  # enum bpf_attach_type

libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
libbpf.bpf_object__open_file.restype = ctypes.c_void_p
libbpf.bpf_object__find_program_by_name.restype = ctypes.c_void_p


@functools.cache
def compiled():
    path = objects.folder()[1] / "foreign.o"
    subprocess.run([*CLANG, SOURCE, "-o", path], check=True)
    return path


def check(result):
    if result is None or result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class LinkOptions(ctypes.Structure):
    """struct bpf_link_create_opts, as far as it is needed."""

    _fields_ = [("size", ctypes.c_size_t), ("flags", ctypes.c_uint32),
                ("others", ctypes.c_uint64 * 16)]


class XdpLink:
    """foreign_xdp on an interface, held by a link, for the length of a block."""

    FLAGS = {"native": 1 << 2, "generic": 1 << 1}  # XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE
    ATTACH_TYPE = 37  # BPF_XDP

    def __init__(self, namespace, interface, mode):
        self.namespace, self.interface, self.mode = namespace, interface, mode

    def __enter__(self):
        path = os.fsencode(compiled())
        self.object = ctypes.c_void_p(check(libbpf.bpf_object__open_file(path, None)))
        program = ctypes.c_void_p(
            libbpf.bpf_object__find_program_by_name(self.object, b"foreign_xdp"))
        libbpf.bpf_program__set_type(program, 6)  # BPF_PROG_TYPE_XDP
        libbpf.bpf_program__set_expected_attach_type(program, self.ATTACH_TYPE)
        check(libbpf.bpf_object__load(self.object))
        options = LinkOptions(ctypes.sizeof(LinkOptions), self.FLAGS[self.mode])
        with self.namespace.inside():
            index = socket.if_nametoindex(self.interface)
            self.link = check(libbpf.bpf_link_create(check(libbpf.bpf_program__fd(program)), index,
                                                     self.ATTACH_TYPE, ctypes.byref(options)))
        return self

    def __exit__(self, *exception):
        os.close(self.link)
        libbpf.bpf_object__close(self.object)


class Tcx:
    """foreign_tc on an interface, by tcx, for the length of a block."""

    def __init__(self, namespace, interface, where):
        self.namespace, self.interface, self.where = namespace, interface, where

    def __enter__(self):
        path = os.fsencode(compiled())
        self.object = ctypes.c_void_p(check(libbpf.bpf_object__open_file(path, None)))
        check(libbpf.bpf_object__load(self.object))
        program = libbpf.bpf_object__find_program_by_name(self.object, b"foreign_tc")
        self.program = check(libbpf.bpf_program__fd(ctypes.c_void_p(program)))
        self.map = check(libbpf.bpf_object__find_map_fd_by_name(self.object, b"foreign_seen"))
        with self.namespace.inside():
            index = socket.if_nametoindex(self.interface)
            self.link = check(libbpf.bpf_link_create(self.program, index, self.where, None))
        return self

    def seen(self):
        """How many packets it saw."""
        key, value = ctypes.c_uint32(0), ctypes.c_uint64(0)
        check(libbpf.bpf_map_lookup_elem(self.map, ctypes.byref(key), ctypes.byref(value)))
        return value.value

    def __exit__(self, *exception):
        os.close(self.link)
        libbpf.bpf_object__close(self.object)
