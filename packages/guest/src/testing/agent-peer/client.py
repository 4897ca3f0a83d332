"""Calls an agent's methods over gRPC or ttrpc, with what protoc made of the .proto files beside this one.

Standard input: a JSON list of {transport, target, service, method, request}, requests as protobuf's JSON.
Standard output: a JSON list of {code, answer} or {code, message}, in the same order.
"""

import importlib
import json
import socket
import struct
import sys

import grpc
from google.protobuf import json_format

sys.path.insert(0, sys.argv[1])


def modules(service):
    package, name = service.rsplit(".", 1)
    return importlib.import_module(package + "_pb2"), importlib.import_module(package + "_pb2_grpc"), name


def messages(service, method):
    pb2, _, name = modules(service)
    description = pb2.DESCRIPTOR.services_by_name[name].methods_by_name[method]
    return getattr(pb2, description.input_type.name), getattr(pb2, description.output_type.name)


def over_grpc(call, request):
    _, stubs, name = modules(call["service"])
    with grpc.insecure_channel(call["target"]) as channel:
        stub = getattr(stubs, name + "Stub")(channel)
        try:
            return 0, getattr(stub, call["method"])(request, timeout=30)
        except grpc.RpcError as error:
            return error.code().value[0], error.details()


def exactly(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError("the agent closed the connection")
        data += part
    return data


connections = {}


def over_ttrpc(call, request):
    ttrpc = importlib.import_module("ttrpc_pb2")
    if call["target"] not in connections:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(call["target"])
        connections[call["target"]] = [connection, 1]
    connection, stream = connections[call["target"]]
    connections[call["target"]][1] += 2
    message = ttrpc.Request(
        service=call["service"],
        method=call["method"],
        payload=request.SerializeToString(),
        timeout_nano=5000000000,
        metadata=[ttrpc.KeyValue(key="caller", value="test")],
    ).SerializeToString()
    connection.sendall(struct.pack(">IIBB", len(message), stream, 1, 0) + message)
    length, answered, kind, flags = struct.unpack(">IIBB", exactly(connection, 10))
    assert (answered, kind, flags) == (stream, 2, 0), (answered, kind, flags)
    response = ttrpc.Response.FromString(exactly(connection, length))
    if response.status.code != 0:
        return response.status.code, response.status.message
    return 0, messages(call["service"], call["method"])[1].FromString(response.payload)


def main():
    results = []
    for call in json.load(sys.stdin):
        request = json_format.ParseDict(call["request"], messages(call["service"], call["method"])[0]())
        try:
            code, answer = (over_ttrpc if call["transport"] == "ttrpc" else over_grpc)(call, request)
        except (OSError, EOFError) as error:
            results.append({"code": -1, "message": type(error).__name__})
            continue
        if code == 0:
            results.append({"code": 0, "answer": json_format.MessageToDict(answer, including_default_value_fields=True)})
        else:
            results.append({"code": code, "message": answer})
    json.dump(results, sys.stdout)


main()
