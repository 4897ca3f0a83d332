import { describe, expect, it } from 'vitest';
import { MalformedError } from '../errors.js';
import * as buffers from './command-buffers.js';
import { sevCommandName, sevCommands } from './commands.js';
import { guestStateName, guestStates, qmpGuestStates } from './guest-states.js';
import { platformStates, platformStatus } from './platform-status.js';
import { describeStatus, statusCodes, statusMeanings, statusName } from './status-codes.js';

/** Sizes and offsets as SEV API 0.24 and linux include/linux/psp-sev.h have them, written down here by hand. */
const layouts: readonly [{ size: number; offsetOf(name: never): number }, number, Record<string, number>][] =
  [
    [buffers.initBuffer, 20, { flags: 0, tmrAddress: 8, tmrLength: 16 }],
    [
      buffers.initExBuffer,
      36,
      { length: 0, flags: 4, tmrAddress: 8, tmrLength: 16, storeAddress: 24, storeLength: 32 },
    ],
    [buffers.pekCsrBuffer, 12, { address: 0, length: 8 }],
    [buffers.pekCertImportBuffer, 28, { pekAddress: 0, pekLength: 8, ocaAddress: 16, ocaLength: 24 }],
    [buffers.pdhCertExportBuffer, 28, { pdhAddress: 0, pdhLength: 8, chainAddress: 16, chainLength: 24 }],
    [buffers.getIdBuffer, 12, { address: 0, length: 8 }],
    [buffers.downloadFirmwareBuffer, 12, { address: 0, length: 8 }],
    [buffers.decommissionBuffer, 4, { handle: 0 }],
    [buffers.deactivateBuffer, 4, { handle: 0 }],
    [buffers.activateBuffer, 8, { handle: 0, asid: 4 }],
    [buffers.activateExBuffer, 24, { length: 0, handle: 4, asid: 8, idCount: 12, idListAddress: 16 }],
    [buffers.guestStatusBuffer, 13, { handle: 0, policy: 4, asid: 8, state: 12 }],
    [buffers.copyBuffer, 24, { handle: 0, length: 4, sourceAddress: 8, destinationAddress: 16 }],
    [
      buffers.launchStartBuffer,
      36,
      {
        handle: 0,
        policy: 4,
        certificateAddress: 8,
        certificateLength: 16,
        sessionAddress: 24,
        sessionLength: 32,
      },
    ],
    [buffers.launchUpdateDataBuffer, 20, { handle: 0, address: 8, length: 16 }],
    [buffers.launchUpdateVmsaBuffer, 20, { handle: 0, address: 8, length: 16 }],
    [buffers.launchMeasureBuffer, 20, { handle: 0, address: 8, length: 16 }],
    [
      buffers.launchSecretBuffer,
      52,
      {
        handle: 0,
        headerAddress: 8,
        headerLength: 16,
        guestAddress: 24,
        guestLength: 32,
        transportAddress: 40,
        transportLength: 48,
      },
    ],
    [buffers.launchFinishBuffer, 4, { handle: 0 }],
    [buffers.attestationBuffer, 36, { handle: 0, address: 8, mnonce: 16, length: 32 }],
    [
      buffers.sendStartBuffer,
      68,
      {
        handle: 0,
        policy: 4,
        pdhAddress: 8,
        pdhLength: 16,
        platformCertificatesAddress: 24,
        platformCertificatesLength: 32,
        amdCertificatesAddress: 40,
        amdCertificatesLength: 48,
        sessionAddress: 56,
        sessionLength: 64,
      },
    ],
    [buffers.sendUpdateDataBuffer, 52, { guestAddress: 24, transportLength: 48 }],
    [buffers.sendUpdateVmsaBuffer, 52, { guestAddress: 24, transportLength: 48 }],
    [buffers.sendFinishBuffer, 4, { handle: 0 }],
    [buffers.sendCancelBuffer, 4, { handle: 0 }],
    [buffers.receiveStartBuffer, 36, { handle: 0, policy: 4, certificateAddress: 8, sessionLength: 32 }],
    [buffers.receiveUpdateDataBuffer, 52, { guestAddress: 24, transportLength: 48 }],
    [buffers.receiveUpdateVmsaBuffer, 52, { guestAddress: 24, transportLength: 48 }],
    [buffers.receiveFinishBuffer, 4, { handle: 0 }],
    [buffers.debugDecryptBuffer, 28, { handle: 0, sourceAddress: 8, destinationAddress: 16, length: 24 }],
    [buffers.debugEncryptBuffer, 28, { handle: 0, sourceAddress: 8, destinationAddress: 16, length: 24 }],
    [platformStatus, 12, { apiMajor: 0, apiMinor: 1, state: 2, owner: 3, config: 4, guestCount: 8 }],
  ];

describe('command buffers', () => {
  it.each(layouts)('%o has its size and offsets', (structure, size, offsets) => {
    expect(structure.size).toBe(size);
    for (const [name, offset] of Object.entries(offsets))
      expect([name, structure.offsetOf(name as never)]).toEqual([name, offset]);
  });

  it('refuse reserved bytes that are not zero, and note unknown flags', () => {
    const bytes = new Uint8Array(buffers.initBuffer.size);
    bytes[3] = 0x80;
    expect(buffers.initBuffer.parse(bytes).notes).toHaveLength(1);
    bytes[4] = 1;
    expect(() => buffers.initBuffer.parse(bytes)).toThrow(MalformedError);
  });
});

describe('commands', () => {
  it('have the ids of the specification', () => {
    expect(sevCommands).toMatchObject({
      INIT: 0x01,
      DOWNLOAD_FIRMWARE: 0x0b,
      INIT_EX: 0x0d,
      DECOMMISSION: 0x20,
      COPY: 0x24,
      LAUNCH_START: 0x30,
      ATTESTATION: 0x36,
      SEND_START: 0x40,
      RECEIVE_FINISH: 0x53,
      DBG_ENCRYPT: 0x61,
      SWAP_IN: 0x71,
    });
    expect(Object.keys(sevCommands)).toHaveLength(41);
    for (const [name, id] of Object.entries(sevCommands)) expect(sevCommandName(id)).toBe(name);
    expect(sevCommandName(0x10)).toBeUndefined();
    expect(sevCommandName(0x90)).toBeUndefined();
  });
});

describe('states', () => {
  it('have the firmware’s numbers and QEMU’s names', () => {
    expect(platformStates).toEqual({ UNINIT: 0, INIT: 1, WORKING: 2 });
    expect(guestStates).toEqual({
      UNINIT: 0,
      LUPDATE: 1,
      LSECRET: 2,
      RUNNING: 3,
      SUPDATE: 4,
      RUPDATE: 5,
      SENT: 6,
    });
    expect([guestStateName(4), guestStateName(5), guestStateName(7)]).toEqual([
      'SUPDATE',
      'RUPDATE',
      undefined,
    ]);
    expect(qmpGuestStates.RUPDATE).toBe('receive-update');
  });
});

describe('status codes', () => {
  it('have the numbers of the specification', () => {
    expect(statusCodes).toMatchObject({
      SUCCESS: 0,
      BAD_MEASUREMENT: 11,
      DF_FLUSH_REQUIRED: 15,
      SECURE_DATA_INVALID: 0x18,
      INVALID_KEY: 0x27,
    });
    expect(Object.keys(statusCodes)).toHaveLength(39);
    expect([statusName(0x0c), statusName(0x1e), statusName(0x28)]).toEqual([
      'ASID_OWNED',
      undefined,
      undefined,
    ]);
  });

  it('say in words what they mean and what to do', () => {
    expect(Object.keys(statusMeanings).toSorted()).toEqual(Object.keys(statusCodes).toSorted());
    const { text, advice } = describeStatus(statusCodes.WBINVD_REQUIRED);
    expect(text).toBe('WBINVD_REQUIRED (0xe): caches still hold data of a guest that was deactivated');
    expect(advice).toBe('run WBINVD on all cores, then DF_FLUSH');
    expect(describeStatus(0x1e)).toEqual({ text: 'status 0x1e, which this version does not know' });
    expect(describeStatus(0)).toEqual({ text: 'SUCCESS (0x0): the command was carried out' });
  });
});
