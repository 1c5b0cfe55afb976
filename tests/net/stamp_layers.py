"""Compares Scapy's STAMP layer (RFC 8762, RFC 8972) with ours. Runs in the labs' environment, for the lab `dissect`,
and prints its findings as JSON:

    stamp_layers.py decode CAPTURE PORT     reads the native packets of a capture, and compares
    stamp_layers.py plain CAPTURE PORT      reads what our sender says to reflectors that are not ours
    stamp_layers.py send HOST PORT          is a sender that does not know us
    stamp_layers.py sealed CAPTURE PORT KEY reads authenticated packets, and checks their HMACs with the key of a file
"""

import hashlib
import hmac
import json
import pathlib
import socket
import struct
import sys
import time
from collections import Counter

import scapy.contrib.stamp as stamp
from capture import HEADER, UDP, decode_native, is_of_a_trace, packets, ptp
from lab import expect
from scapy.fields import LongField, NBytesField, PacketListField, ShortField, StrFixedLenField, XByteField, XIntField
from scapy.packet import Packet

UNRECOGNISED, MALFORMED = 0x80, 0x40
PADDING, FOLLOW_UP, HMAC, OURS, UNKNOWN = 1, 7, 8, 252, 200
HMAC_BYTES, COVERED_BYTES = 16, 96
FOLLOW_UP_BYTES, OURS_LEAST = 16, 64
# Seconds from 1900, where NTP begins, to 1970.
NTP_TO_UNIX_S = 2_208_988_800
PROBES = 50
SSID = 4711
ANSWER_WITHIN_S = 60


def datagrams(path):
    """Yields the datagrams of a capture that are packets of a wire."""
    return (packet for packet in packets(path) if packet.protocol == UDP and not is_of_a_trace(packet.payload))


def fields(packet):
    """Returns the fields of Scapy's packet as plain values. A time is its 64 bits."""
    found = {name: packet.getfieldval(name) for name in ("seq", "ts", "ssid")}
    found["error"] = int.from_bytes(bytes(packet.err_estimate), "big")
    found["tlvs"] = [(int(tlv.flags), tlv.type, bytes(tlv.value)) for tlv in packet.tlv_objects]
    if isinstance(packet, stamp.STAMPSessionReflectorTestUnauthenticated):
        found |= {name: packet.getfieldval(name) for name in ("ts_rx", "seq_sender", "ts_sender", "ttl_sender")}
        found["error_sender"] = int.from_bytes(bytes(packet.err_estimate_sender), "big")
        found["zeros"] = (packet.mbz1, packet.mbz2)
    else:
        found["zeros"] = (packet.mbz,)
    return found


def ns_of(bits):
    """Converts a truncated PTP time."""
    return ptp(bits >> 32, bits & 0xFFFF_FFFF)


def ns_of_ntp(bits):
    """Converts a time in NTP's format to the nearest nanosecond."""
    return ptp((bits >> 32) - NTP_TO_UNIX_S, 0) + ((bits & 0xFFFF_FFFF) * 1_000_000_000 + (1 << 31) >> 32)


def as_layer(data, is_reply):
    """Lets Scapy read a packet. From the values that it reads it must make the same bytes again."""
    kind = stamp.STAMPSessionReflectorTestUnauthenticated if is_reply else stamp.STAMPSessionSenderTestUnauthenticated
    packet = kind(data)
    values = fields(packet)
    packet.clear_cache()
    expect(bytes(packet) == data, f"Scapy makes other bytes of it: {data.hex()}")
    return values


def check_fields(data, values, is_reply):
    """Compares our fields with Scapy's."""
    ours = decode_native(data)
    # Scapy's second zeros of a reply are the three bytes after the TTL.
    expect(not any(values["zeros"]), f"not zero where it must be: {data.hex()}")
    expect(values["error"] >> 14 & 1, f"the time is not said to be PTP's: {data.hex()}")
    read = [values["seq"], ns_of(values["ts"]), values["error"], values["ssid"], values["tlvs"]]
    meant = [ours.seq, ours.at, ours.error, ours.ssid, [tuple(tlv) for tlv in ours.tlvs]]
    if is_reply:
        read += [ns_of(values["ts_rx"]), values["seq_sender"], ns_of(values["ts_sender"])]
        read += [values["error_sender"], values["ttl_sender"]]
        meant += [ours.received, ours.sender_seq, ours.sender_at, ours.sender_error, 255]
    expect(read == meant, f"Scapy reads {read}, not {meant}")


def check_request(values, data):
    kinds = [kind for _, kind, _ in values["tlvs"]]
    expect(kinds in ([FOLLOW_UP, OURS], [FOLLOW_UP, OURS, PADDING]), f"a request's TLVs: {kinds}")
    flags = {flag for flag, _, _ in values["tlvs"]}
    expect(flags == {UNRECOGNISED}, f"a request's flags: {flags}")
    (_, _, follow_up), (_, _, ours), *padding = values["tlvs"]
    expect(follow_up == bytes(FOLLOW_UP_BYTES), f"a request follows up: {data.hex()}")
    expect(ours[:5] == b"LMon\x01" and len(ours) >= OURS_LEAST and not ours[5] & 1, f"not ours: {ours.hex()}")
    expect(not padding or not any(padding[0][2]), f"padding that is not zeros: {data.hex()}")
    expect(values["ssid"] != 0, "no SSID")


def check_reply(values, data, request, left):
    """Checks a reply against its request, and against the departures of the replies before it in its session."""
    asked, asked_data = request
    expect(len(data) == len(asked_data), f"{len(data)} bytes answer {len(asked_data)}")
    copies = [values["ssid"], values["seq_sender"], values["ts_sender"], values["error_sender"]]
    expect(copies == [asked["ssid"], asked["seq"], asked["ts"], asked["error"]], f"not the request's: {copies}")
    shape = [(kind, len(value)) for _, kind, value in values["tlvs"]]
    expect(shape == [(kind, len(value)) for _, kind, value in asked["tlvs"]], f"other TLVs: {shape}")
    expect(all(flag == 0 for flag, _, _ in values["tlvs"]), f"flags of what is known: {values['tlvs']}")
    ours = values["tlvs"][1][2]
    expect(ours[5] & 1 and ours[8:12] == asked["tlvs"][1][2][8:12], f"not our reply: {ours.hex()}")
    expect(values["seq"] == len(left), f"reply {values['seq']} after {len(left)} others")
    expect(ns_of(values["ts_rx"]) <= ns_of(values["ts"]), "it left before its request came in")
    follow_up = values["tlvs"][0][2]
    of, seconds, ns, how = struct.unpack_from(">IIIB", follow_up)
    if any(follow_up):
        # The reply left after it was made and before this one. When replies are close, the stamp of the last one may
        # be outstanding.
        between = of < len(left) and left[of] <= ptp(seconds, ns) <= ns_of(values["ts"])
        expect(between and how in (1, 2), f"a follow-up of {of} in {values['seq']}: {follow_up.hex()}")
    return any(follow_up)


def decode(path, port):
    """Checks everything native in a capture; returns the numbers of packets."""
    found, requests, left = Counter(), {}, {}
    for packet in datagrams(path):
        if port not in (packet.source_port, packet.target_port):
            continue
        data, is_reply = packet.payload, packet.source_port == port
        if HEADER.match(data):
            found["text"] += 1
            continue
        values = as_layer(data, is_reply)
        check_fields(data, values, is_reply)
        found["replies" if is_reply else "requests"] += 1
        found["padded"] += any(kind == PADDING for _, kind, _ in values["tlvs"])
        session = values["ssid"]
        if is_reply:
            request = requests.pop((session, values["seq_sender"]), None)
            expect(request, f"a reply to no request: {data.hex()}")
            earlier = left.setdefault(session, [])
            found["followed up"] += check_reply(values, data, request, earlier)
            earlier.append(ns_of(values["ts"]))
        else:
            check_request(values, data)
            requests[session, values["seq"]] = (values, data)
    return dict(found)


def plain(path, port):
    """Checks every request to a reflector of others, field by field; returns the numbers of packets."""
    found, before = Counter(), None
    for packet in datagrams(path):
        if packet.target_port != port:
            continue
        values = as_layer(packet.payload, False)
        is_ptp = values["error"] >> 14 & 1
        left_ns = ns_of(values["ts"]) if is_ptp else ns_of_ntp(values["ts"])
        expect(0 <= packet.at - left_ns < 60_000_000_000, f"left at {left_ns}, captured at {packet.at}: {values}")
        expect(not any(values["zeros"]) and values["error"] & 0xFF, f"not a request by the RFC: {values}")
        kinds = [(kind, flags) for flags, kind, _ in values["tlvs"]]
        expect(kinds in ([], [(FOLLOW_UP, UNRECOGNISED), (PADDING, UNRECOGNISED)]), f"TLVs: {kinds}")
        expect(not any(any(value) for _, _, value in values["tlvs"]), f"not zeros: {values['tlvs']}")
        # One number is left out, to see whether the reflector counts.
        step = values["seq"] - before["seq"] if before else values["seq"] + 1
        expect(step in (1, 2) and (not before or before["ssid"] == values["ssid"] != 0), f"{values} after {before}")
        found["left out"] += step - 1
        found["requests"] += 1
        found["ptp"] += is_ptp
        before = values
    expect(found["left out"] <= 1, f"numbers left out: {found['left out']}")
    return dict(found)


class SealedRequest(Packet):
    """A sender's packet in authenticated mode (RFC 8762, section 4.2.2; its SSID as in RFC 8972, section 3)."""

    fields_desc = [
        XIntField("seq", 0),
        NBytesField("mbz", 0, 12),
        LongField("ts", 0),
        ShortField("error", 0),
        ShortField("ssid", 0),
        NBytesField("mbz2", 0, 68),
        StrFixedLenField("hmac", b"", HMAC_BYTES),
        PacketListField("tlv_objects", [], stamp.STAMPTestTLV),
    ]


class SealedReply(Packet):
    """A reflector's packet in authenticated mode (RFC 8762, section 4.3.2)."""

    fields_desc = [
        XIntField("seq", 0),
        NBytesField("mbz", 0, 12),
        LongField("ts", 0),
        ShortField("error", 0),
        ShortField("ssid", 0),
        NBytesField("mbz2", 0, 4),
        LongField("ts_rx", 0),
        NBytesField("mbz3", 0, 8),
        XIntField("seq_sender", 0),
        NBytesField("mbz4", 0, 12),
        LongField("ts_sender", 0),
        ShortField("error_sender", 0),
        NBytesField("mbz5", 0, 6),
        XByteField("ttl_sender", 0),
        NBytesField("mbz6", 0, 15),
        StrFixedLenField("hmac", b"", HMAC_BYTES),
        PacketListField("tlv_objects", [], stamp.STAMPTestTLV),
    ]


def unseal(kind, data, key):
    """Returns the fields of an authenticated packet, whose HMACs must be those of the key."""
    packet = kind(data)
    values = {field.name: packet.getfieldval(field.name) for field in packet.fields_desc}
    tlvs = [(int(tlv.flags), tlv.type, bytes(tlv.value)) for tlv in values.pop("tlv_objects")]
    packet.clear_cache()
    expect(bytes(packet) == data, f"other bytes are made of it: {data.hex()}")
    expect(not any(value for name, value in values.items() if name.startswith("mbz")), f"not zero: {values}")
    mac = lambda covered: hmac.new(key, covered, hashlib.sha256).digest()[:HMAC_BYTES]
    expect(values["hmac"] == mac(data[:COVERED_BYTES]), f"not the HMAC of its base: {data.hex()}")
    if tlvs:
        _, last, value = tlvs.pop()
        # The sequence number, and all TLVs before it.
        covered = data[:4] + data[COVERED_BYTES + HMAC_BYTES : -len(value) - 4]
        expect(last == HMAC and value == mac(covered), f"not the HMAC of its TLVs: {data.hex()}")
    return values | {"tlvs": tlvs}


def sealed(path, port, key_path):
    """Checks authenticated packets, field by field; returns their numbers."""
    key = bytes.fromhex(pathlib.Path(key_path).read_text())
    found, requests = Counter(), {}
    for packet in datagrams(path):
        if port not in (packet.source_port, packet.target_port):
            continue
        if packet.target_port == port:
            values = unseal(SealedRequest, packet.payload, key)
            expect(values["ssid"] and values["error"] & 0xFF, f"not a request by the RFC: {values}")
            requests[values["ssid"], values["seq"]] = values | {"length": len(packet.payload)}
            found["requests"] += 1
            continue
        values = unseal(SealedReply, packet.payload, key)
        asked = requests.pop((values["ssid"], values["seq_sender"]))
        expect(len(packet.payload) == asked["length"], f"{len(packet.payload)} bytes answer {asked['length']}")
        copies = [values["ts_sender"], values["error_sender"], values["error"] >> 14 & 1]
        expect(copies == [asked["ts"], asked["error"], asked["error"] >> 14 & 1], f"not the request's: {values}")
        shape = [(kind, len(value)) for _, kind, value in values["tlvs"]]
        expect(shape == [(kind, len(value)) for _, kind, value in asked["tlvs"]], f"other TLVs: {shape}")
        expect(values["ts_rx"] <= values["ts"] and values["ttl_sender"] == 255, f"times or TTL: {values}")
        found["replies"] += 1
    return dict(found)


def ntp_of(ns):
    """Converts a time to NTP's format, rounded up so the end of the fraction does not hide the difference."""
    return (ns // 1_000_000_000 + NTP_TO_UNIX_S) << 32 | -(-(ns % 1_000_000_000 << 32) // 1_000_000_000)


def request(number, left_ns, estimate, tlvs):
    # As numbers: Scapy's letters count the flags' bits from the wrong end.
    objects = [
        stamp.STAMPTestTLV(flags=UNRECOGNISED, type=kind, len=len(value), value=value) for kind, value in tlvs
    ]
    packet = stamp.STAMPSessionSenderTestUnauthenticated(
        seq=number, err_estimate=estimate, ssid=SSID, tlv_objects=objects
    )
    data = bytearray(bytes(packet))
    # As 64 bits: Scapy would take a float, which does not hold them.
    struct.pack_into(">Q", data, 4, ntp_of(left_ns))
    return bytes(data)


def send(host, port):
    """Sends probes by the RFC, one at a time; returns what the answers had in them."""
    found, before = Counter(), None
    estimate = stamp.ErrorEstimate(S=1, Z=0, scale=3, multiplier=9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((host, port))
        sender.settimeout(ANSWER_WITHIN_S)
        for number in range(PROBES):
            tlvs = [(PADDING, bytes(20)), (UNKNOWN, b"what is this"), (FOLLOW_UP, bytes(FOLLOW_UP_BYTES))]
            # Any order of TLVs is valid, and an empty one.
            tlvs = tlvs[number % 3 :] + tlvs[: number % 3] + [(PADDING, b"")]
            left_ns = time.time_ns()
            data = request(number, left_ns, estimate, tlvs)
            sender.send(data)
            answer = sender.recv(65_535)
            back_ns = time.time_ns()
            values, asked = as_layer(answer, True), as_layer(data, False)
            check_answer(values, asked, len(answer) == len(data), (left_ns, back_ns))
            found["answers"] += 1
            follow_up = next(value for _, kind, value in values["tlvs"] if kind == FOLLOW_UP)
            of, seconds, ns, how = struct.unpack_from(">IIIB", follow_up)
            if before is None:
                expect(values["seq"] == 0, f"the first reply is {values['seq']}")
                expect(not any(follow_up), f"the first reply follows up: {follow_up.hex()}")
            else:
                expect(values["seq"] == before["seq"] + 1, f"reply {values['seq']} after {before['seq']}")
                expect(of == before["seq"] and how in (1, 2), f"reply {values['seq']}: {follow_up.hex()}")
                left = seconds << 32 | ns
                in_order = before["ts"] <= left <= values["ts_rx"]
                expect(in_order, f"reply {of} left at {left:#x}, after {before} and before {values}")
                found["followed up"] += 1
            before = values
    return dict(found)


def check_answer(values, asked, same_length, between):
    expect(same_length, f"another length than {asked}: {values}")
    copies = [values["ssid"], values["seq_sender"], values["ts_sender"], values["error_sender"]]
    expect(copies == [asked["ssid"], asked["seq"], asked["ts"], asked["error"]], f"not the request's: {copies}")
    expect(not values["error"] >> 14 & 1, "the time is not said to be NTP's, as the request's is")
    expect(not any(values["zeros"]), f"not zero where it must be: {values}")
    left_ns, back_ns = between
    in_order = left_ns <= ns_of_ntp(values["ts_rx"]) <= ns_of_ntp(values["ts"]) <= back_ns
    expect(in_order, f"times out of order: {between}, {values}")
    for (flags, kind, value), (_, asked_kind, asked_value) in zip(values["tlvs"], asked["tlvs"], strict=True):
        expect(kind == asked_kind and len(value) == len(asked_value), f"other TLVs: {values['tlvs']}")
        expect(kind == FOLLOW_UP or value == asked_value, f"a changed value: {values['tlvs']}")
        expect(flags == (UNRECOGNISED if kind == UNKNOWN else 0), f"flags {flags:#x} of type {kind}")


if __name__ == "__main__":
    what, of, number, *more = sys.argv[1:]
    does = {"decode": decode, "plain": plain, "send": send, "sealed": sealed}
    print(json.dumps(does[what](of if what == "send" else pathlib.Path(of), int(number), *more)))
