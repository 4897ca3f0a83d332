import {
  attestationBuffer,
  attestationReport,
  buildGuestPolicy,
  buildSecretPacket,
  buildSevCertificate,
  concat,
  digest,
  fromBase64,
  fromHex,
  hmacSha256,
  initBuffer,
  initExBuffer,
  type LaunchSession,
  launchFinishBuffer,
  launchMeasureBuffer,
  launchMeasurementBlob,
  launchSecretBuffer,
  launchStartBuffer,
  launchUpdateVmsaBuffer,
  measureLaunch,
  Secret,
  sevCommands,
  signSevCertificate,
  toHex,
  u32le,
  verifyAttestationReport,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector } from '../../../sev/src/testing/vectors.js';
import { manufactureChip, storeKeys } from '../identity/chip.js';
import { deriveP384Key, p384Key } from '../identity/keys.js';
import { sealStore } from '../identity/persistent-store.js';
import { makePdh, makeSelfOwnedIdentity } from '../identity/platform-keys.js';
import { createDram } from '../memory/dram.js';
import { machineProfiles } from '../profiles.js';
import {
  expectSuccess,
  places,
  seededRandom,
  statusOf,
  TestHypervisor,
  testMachine,
} from '../testing/hypervisor.js';
import { Processor } from './processor.js';

const api = { apiMajor: 1, apiMinor: 55 };
const noDebug = 1;

let hypervisor: TestHypervisor;
beforeEach(async () => {
  hypervisor = new TestHypervisor(testMachine().host);
  await hypervisor.start('sev-es');
});

interface EndToEnd {
  readonly pdh_private: string;
  readonly pek_private: string;
  readonly policy: number;
  readonly tek: string;
  readonly tik: string;
  readonly launch_data_hex_or_file: readonly string[];
  readonly expect: {
    readonly godh_cert_b64: string;
    readonly pdh_cert_unsigned_b64: string;
    readonly session_b64: string;
    readonly launch_digest: string;
    readonly mnonce: string;
    readonly measurement: string;
    readonly secret: { readonly table: string; readonly header: string; readonly payload: string };
    readonly attestation_report: {
      readonly mnonce: string;
      readonly report: string;
      readonly pek_public_x: string;
      readonly pek_public_y: string;
    };
  };
}

describeWithVectors('the launch of end-to-end.json', () => {
  it('gives the published measurement, opens the published packet, and reports what was launched', async () => {
    const vector = jsonVector<EndToEnd>('sev/end-to-end.json');
    const { expect: answers } = vector;
    const random = seededRandom('end to end');
    const chip = manufactureChip({ random });
    const maker = { api, random, cek: deriveP384Key(chip.secret, 'chip endorsement key') };
    const made = await makeSelfOwnedIdentity(maker);
    const pek = { ...made.pek, key: p384Key(fromHex(vector.pek_private)) };
    const pdh = { ...(await makePdh(maker, pek.key)), key: p384Key(fromHex(vector.pdh_private)) };
    const store = await sealStore({ ...made, pek, pdh }, storeKeys(chip), random);
    // The processor draws the guest's memory key, then the measurement's nonce.
    const draws = [random(16), fromHex(answers.mnonce)];
    const machine = testMachine({ chip, random: () => draws.shift()! });
    const on = new TestHypervisor(machine.host);
    await on.host.memory.write(places.store, store);
    const initEx = {
      flags: { encryptedState: false },
      storeAddress: BigInt(places.store),
      storeLength: store.length,
    };
    expectSuccess(await on.call('INIT_EX', [initExBuffer, initEx]));
    await on.flush();

    const session = {
      godhCertificate: fromBase64(answers.godh_cert_b64),
      session: fromBase64(answers.session_b64),
    };
    const handle = await on.newGuest(vector.policy, { session: session as LaunchSession });
    expectSuccess(await on.activate(handle, 200));
    let at: number = places.image;
    for (const part of vector.launch_data_hex_or_file.map((text) => fromHex(text))) {
      expectSuccess(await on.load(handle, at, part));
      at += part.length;
    }
    const { measurement, mnonce } = await on.measurement(handle);
    expect([toHex(measurement), toHex(mnonce)]).toEqual([answers.measurement, answers.mnonce]);
    const packet = { header: fromHex(answers.secret.header), payload: fromHex(answers.secret.payload) };
    expect(await on.inject(handle, packet, places.image + 4096)).toBe('SUCCESS');

    const request = {
      handle,
      address: BigInt(places.answer),
      mnonce: fromHex(answers.attestation_report.mnonce),
      length: 0xd0,
    };
    expectSuccess(await on.call('ATTESTATION', [attestationBuffer, request]));
    const report = await on.host.memory.read(places.answer, attestationReport.size);
    expect(toHex(report.slice(0, 0x40))).toBe(answers.attestation_report.report.slice(0, 0x80));
    const pekPublic = {
      x: fromHex(answers.attestation_report.pek_public_x),
      y: fromHex(answers.attestation_report.pek_public_y),
    };
    const launchDigest = fromHex(answers.launch_digest);
    const appraisal = await verifyAttestationReport(report, pekPublic, {
      mnonce: request.mnonce,
      expectedDigest: launchDigest,
      policy: vector.policy,
    });
    expect(appraisal.checks.filter((check) => check.status === 'fail')).toEqual([]);

    expectSuccess(await on.finish(handle));
    const found: Uint8Array[] = [];
    machine.insertGuest(async (view) => {
      found.push(await view.readPrivate(0, packet.payload.length));
    });
    const nestedPages = [{ guestAddress: 0, systemAddress: places.image + 4096, length: 4096 }];
    expect(await on.host.enter({ asid: 200, nestedPages })).toMatchObject({ reason: 'hlt' });
    expect(found.map(toHex)).toEqual([answers.secret.table]);
  });
});

describe('LAUNCH_START', () => {
  const withSession = (
    session: LaunchSession,
    values: Partial<Parameters<typeof launchStartBuffer.build>[0]> = {},
  ) =>
    startWith(
      { godhCertificate: session.godhCertificate, session: session.session },
      { policy: session.policy, ...values },
    );

  async function startWith(
    channel: { godhCertificate: Uint8Array; session: Uint8Array },
    values: Parameters<typeof launchStartBuffer.build>[0],
  ) {
    await hypervisor.host.memory.write(places.certificate, channel.godhCertificate);
    await hypervisor.host.memory.write(places.session, channel.session);
    return hypervisor.call('LAUNCH_START', [
      launchStartBuffer,
      {
        certificateAddress: BigInt(places.certificate),
        certificateLength: 0x824,
        sessionAddress: BigInt(places.session),
        sessionLength: 0x80,
        ...values,
      },
    ]);
  }

  it('gives the lowest free handle, and as many guests as the firmware holds', async () => {
    for (let handle = 1; handle <= 1024; handle++) expect(await hypervisor.newGuest(0)).toBe(handle);
    expect(await hypervisor.launchStart(0)).toBe('RESOURCE_LIMIT');
    expectSuccess(await hypervisor.decommission(17));
    expect(await hypervisor.newGuest(0)).toBe(17);
  });

  it('takes sessions as sevctl makes them, and as sev-tool does, which signs the certificate itself', async () => {
    const session = await hypervisor.ownerSession(noDebug);
    expect(await withSession(session)).toBe('SUCCESS');
    const random = seededRandom('godh');
    const godh = p384Key(random(48));
    const key = { usage: 'PEK', algorithm: 'ECDSA-SHA256', key: godh } as const;
    const signed = await signSevCertificate(session.godhCertificate, key);
    expect(await startWith({ godhCertificate: signed, session: session.session }, { policy: noDebug })).toBe(
      'SUCCESS',
    );
  });

  it.each([
    ['debugging allowed', 0],
    ['key sharing allowed', 1],
    ['ES off', 3],
    [
      'another minimum API',
      buildGuestPolicy({
        noDebug: true,
        noKeySharing: true,
        encryptedState: true,
        apiMinor: 51,
        apiMajor: 1,
      }),
    ],
  ])('refuses a policy that the owner did not bind: %s', async (_what, policy) => {
    const bound = buildGuestPolicy({
      noDebug: true,
      noKeySharing: true,
      encryptedState: true,
      apiMajor: 1,
      apiMinor: 55,
    });
    const session = await hypervisor.ownerSession(bound);
    expect(await withSession(session, { policy })).toBe('BAD_MEASUREMENT');
    expect(await withSession(session)).toBe('SUCCESS');
  });

  it('refuses a session that was altered, or made for another platform or PDH', async () => {
    const session = await hypervisor.ownerSession(noDebug);
    for (let at = 0; at < 0x80; at += 7) {
      const altered = { ...session, session: session.session.slice() };
      altered.session[at]! ^= 1;
      expect(await withSession(altered)).toBe('BAD_MEASUREMENT');
    }
    const other = await hypervisor.ownerSession(noDebug, seededRandom('other'));
    expect(await withSession({ ...session, godhCertificate: other.godhCertificate })).toBe('BAD_MEASUREMENT');
    expectSuccess(await hypervisor.call('PDH_GEN'));
    expect(await withSession(session)).toBe('BAD_MEASUREMENT');
    expect((await hypervisor.status()).guestCount).toBe(0);
  });

  it('refuses certificates of another form, usage, algorithm or key', async () => {
    const session = await hypervisor.ownerSession(noDebug);
    const publicKey = p384Key(seededRandom('k')(48)).publicKey;
    const make = (usage: 'PDH' | 'PEK', algorithm: 'ECDH-SHA256' | 'ECDH-SHA384' | 'ECDSA-SHA256') =>
      buildSevCertificate({ ...api, usage, algorithm, publicKey });
    const offCurve = session.godhCertificate.slice();
    offCurve[0x20]! ^= 1;
    const wrongVersion = session.godhCertificate.slice();
    wrongVersion[0] = 2;
    const bad = [
      make('PEK', 'ECDH-SHA256'),
      make('PDH', 'ECDH-SHA384'),
      make('PDH', 'ECDSA-SHA256'),
      offCurve,
      wrongVersion,
    ];
    for (const godhCertificate of bad) {
      expect(await withSession({ ...session, godhCertificate })).toBe('INVALID_CERTIFICATE');
    }
  });

  it('refuses lengths other than the structures’', async () => {
    const session = await hypervisor.ownerSession(noDebug);
    expect(await withSession(session, { policy: noDebug, certificateLength: 0x823 })).toBe('INVALID_LENGTH');
    expect(await withSession(session, { policy: noDebug, sessionLength: 0x81 })).toBe('INVALID_LENGTH');
    expect(await withSession(session, { policy: noDebug, certificateAddress: 0x7f_ffffn })).toBe(
      'INVALID_ADDRESS',
    );
    expect(await withSession(session, { policy: noDebug, sessionAddress: 0xffff_ffff_ffff_ffffn })).toBe(
      'INVALID_ADDRESS',
    );
  });

  it('refuses a policy that wants newer firmware, or has reserved bits, where there is a session', async () => {
    const launch = async (policy: number) => withSession(await hypervisor.ownerSession(policy));
    expect(await launch(buildGuestPolicy({ apiMajor: 1, apiMinor: 56 }))).toBe('POLICY_FAILURE');
    expect(await launch(buildGuestPolicy({ apiMajor: 2 }))).toBe('POLICY_FAILURE');
    expect(await launch(buildGuestPolicy({ apiMajor: 1, apiMinor: 55 }))).toBe('SUCCESS');
    expect(await launch(buildGuestPolicy({ apiMinor: 200 }))).toBe('SUCCESS');
    for (const bit of [6, 11, 15]) expect(await launch(2 ** bit)).toBe('POLICY_FAILURE');
  });

  it('does not judge them where there is none: such a launch proves nothing anyway (limit)', async () => {
    expect(await hypervisor.launchStart(buildGuestPolicy({ apiMajor: 9 }))).toBe('SUCCESS');
    expect(await hypervisor.launchStart(1 << 6)).toBe('SUCCESS');
  });

  it('refuses SEV-ES guests where INIT did not switch it on', async () => {
    const plain = new TestHypervisor(testMachine().host);
    await plain.start('sev');
    expect(await plain.launchStart(4)).toBe('UNSUPPORTED');
    expect(await plain.launchStart(0)).toBe('SUCCESS');
  });

  it('shares a key with a guest of the same policy that allows it', async () => {
    const open = await hypervisor.newGuest(1);
    const closed = await hypervisor.newGuest(3);
    expect(await hypervisor.launchStart(1, { share: 99 })).toBe('INVALID_GUEST');
    expect(await hypervisor.launchStart(0, { share: open })).toBe('POLICY_FAILURE');
    expect(await hypervisor.launchStart(3, { share: closed })).toBe('POLICY_FAILURE');
    const sharing = await hypervisor.newGuest(1, { share: open });
    expect(sharing).toBe(3);
    expectSuccess(await hypervisor.activate(open, 200));
    expectSuccess(await hypervisor.activate(sharing, 201));
    const plaintext = new Uint8Array(64).fill(1);
    expectSuccess(await hypervisor.load(open, places.image, plaintext));
    const first = await hypervisor.host.memory.read(places.image, 64);
    expectSuccess(await hypervisor.load(sharing, places.image, plaintext));
    expect(await hypervisor.host.memory.read(places.image, 64)).toEqual(first);
    expectSuccess(await hypervisor.deactivate(open));
    expectSuccess(await hypervisor.decommission(open));
    expectSuccess(await hypervisor.load(sharing, places.image, plaintext));
    expect(await hypervisor.host.memory.read(places.image, 64)).toEqual(first);
  });

  it('measures under keys of zeros where there is no session, so anyone can compute the measurement', async () => {
    const handle = await hypervisor.newGuest(1);
    expectSuccess(await hypervisor.activate(handle, 200));
    const { measurement, mnonce } = await hypervisor.measurement(handle);
    const launchDigest = await digest('sha256');
    const tik = new Uint8Array(16);
    expect(measurement).toEqual(
      await measureLaunch({ ...api, buildId: 24, tik, policy: 1, launchDigest, mnonce }),
    );
  });
});

describe('LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA', () => {
  it('want aligned addresses in memory and whole granules', async () => {
    const handle = await hypervisor.newGuest(4);
    expectSuccess(await hypervisor.activate(handle, 1));
    expect(await hypervisor.updateData(handle, places.image + 8, 16)).toBe('INVALID_ADDRESS');
    expect(await hypervisor.updateData(handle, places.image, 0)).toBe('INVALID_LENGTH');
    expect(await hypervisor.updateData(handle, places.image, 24)).toBe('INVALID_LENGTH');
    expect(await hypervisor.updateData(handle, 0x80_0000, 16)).toBe('INVALID_ADDRESS');
    expect(await hypervisor.updateData(handle, 0x7f_fff0, 32)).toBe('INVALID_ADDRESS');
    expect(await hypervisor.updateData(handle, places.trusted, 16)).toBe('INVALID_ADDRESS');
    expect(await hypervisor.updateData(handle, places.trusted - 16, 32)).toBe('INVALID_ADDRESS');
    const vmsa = (address: number, length: number) =>
      hypervisor.call('LAUNCH_UPDATE_VMSA', [
        launchUpdateVmsaBuffer,
        { handle, address: BigInt(address), length },
      ]);
    expect(await vmsa(places.vmsa, 2048)).toBe('INVALID_LENGTH');
    expect(await vmsa(places.vmsa, 8192)).toBe('INVALID_LENGTH');
    expect(await vmsa(places.vmsa + 1, 4096)).toBe('INVALID_ADDRESS');
    expect(await vmsa(places.trusted, 4096)).toBe('INVALID_ADDRESS');
    const { measurement, mnonce } = await hypervisor.measurement(handle);
    const nothing = { tik: new Uint8Array(16), policy: 4, launchDigest: await digest('sha256'), mnonce };
    expect(measurement).toEqual(await measureLaunch({ ...api, buildId: 24, ...nothing }));
  });

  it('add to the digest in the order of the commands, the VMSA as the host gave it', async () => {
    const random = seededRandom('pages');
    const [a, b, page] = [random(32), random(4096), random(4096)];
    const handle = await hypervisor.newGuest(4);
    expectSuccess(await hypervisor.activate(handle, 1));
    expectSuccess(await hypervisor.load(handle, places.image + 4096, b));
    expectSuccess(await hypervisor.loadVmsa(handle, page));
    expectSuccess(await hypervisor.load(handle, places.image, a));
    const { measurement, mnonce } = await hypervisor.measurement(handle);
    const launchDigest = await digest('sha256', concat(b, page, a));
    const zeros = { tik: new Uint8Array(16), policy: 4, launchDigest, mnonce };
    expect(measurement).toEqual(await measureLaunch({ ...api, buildId: 24, ...zeros }));
  });
});

describe('LAUNCH_MEASURE', () => {
  it('with too little room fills in the length, draws nothing, and measuring goes on', async () => {
    const handle = await hypervisor.newGuest(0);
    expectSuccess(await hypervisor.activate(handle, 200));
    expect(await hypervisor.measure(handle, 0x2f)).toBe('INVALID_LENGTH');
    expect((await hypervisor.answer(launchMeasureBuffer)).length).toBe(0x30);
    const outside = { handle, address: 0x7f_fff0n, length: 0x30 };
    expect(await hypervisor.call('LAUNCH_MEASURE', [launchMeasureBuffer, outside])).toBe('INVALID_ADDRESS');
    expect(await hypervisor.load(handle, places.image, new Uint8Array(16))).toBe('SUCCESS');
    expect(await hypervisor.measure(handle, 0x100)).toBe('SUCCESS');
    expect((await hypervisor.answer(launchMeasureBuffer)).length).toBe(0x30);
  });

  it('needs no ASID', async () => {
    expect(await hypervisor.measure(await hypervisor.newGuest(0))).toBe('SUCCESS');
  });

  it('draws a new nonce each time, so that no two launches measure alike', async () => {
    const blobs = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const { measurement } = await hypervisor.measurement(await hypervisor.newGuest(0));
      blobs.add(toHex(measurement));
    }
    expect(blobs.size).toBe(3);
  });

  it('follows the older form before API 0.17', async () => {
    const old = { apiMajor: 0, apiMinor: 16 };
    const on = new TestHypervisor(testMachine({ profile: { api: old } }).host);
    await on.start();
    const { measurement, mnonce } = await on.measurement(await on.newGuest(0));
    const zeros = { tik: new Uint8Array(16), policy: 0, launchDigest: await digest('sha256'), mnonce };
    expect(measurement).toEqual(await measureLaunch({ ...old, buildId: 24, ...zeros }));
    expect(measurement).not.toEqual(await measureLaunch({ ...api, buildId: 24, ...zeros }));
  });
});

describe('LAUNCH_SECRET', () => {
  let handle: number;
  let session: LaunchSession;
  let measurement: Uint8Array;
  const plaintext = new Uint8Array(64).fill(0x5e);

  beforeEach(async () => {
    session = await hypervisor.ownerSession(noDebug);
    handle = await hypervisor.newGuest(noDebug, { session });
    expectSuccess(await hypervisor.activate(handle, 200));
    measurement = (await hypervisor.measurement(handle)).measurement;
  });
  const packet = (values: Partial<Parameters<typeof buildSecretPacket>[0]> = {}) =>
    buildSecretPacket({ ...session, ...api, measurement, iv: new Uint8Array(16), plaintext, ...values });

  it('takes up to 16 KiB', async () => {
    expect(
      await hypervisor.inject(handle, await packet({ plaintext: new Uint8Array(16384) }), places.image),
    ).toBe('SUCCESS');
    const large = { header: (await packet()).header, payload: new Uint8Array(16400) };
    expect(await hypervisor.inject(handle, large, places.image)).toBe('INVALID_LENGTH');
  });

  it('checks lengths before the guest’s state, and the state before the packet', async () => {
    const good = await packet();
    const send = async (values: Partial<Parameters<typeof launchSecretBuffer.build>[0]>) => {
      await hypervisor.host.memory.write(places.header, good.header);
      await hypervisor.host.memory.write(places.payload, good.payload);
      const command = {
        handle,
        headerAddress: BigInt(places.header),
        headerLength: 0x34,
        guestAddress: BigInt(places.image),
        guestLength: 64,
        transportAddress: BigInt(places.payload),
        transportLength: 64,
        ...values,
      };
      return hypervisor.call('LAUNCH_SECRET', [launchSecretBuffer, command]);
    };
    const bad: Partial<Parameters<typeof launchSecretBuffer.build>[0]>[] = [
      { headerLength: 0x33 },
      { headerLength: 0x35 },
      { guestLength: 0, transportLength: 0 },
      { guestLength: 63, transportLength: 63 },
      { guestLength: 48 },
      { transportLength: 80 },
      { guestLength: 16400, transportLength: 16400 },
    ];
    expectSuccess(await hypervisor.finish(handle));
    for (const values of bad) expect(await send(values)).toBe('INVALID_LENGTH');
    expect(await send({ guestAddress: BigInt(places.image + 8), headerLength: 1 })).toBe('INVALID_ADDRESS');
    expect(await send({ handle: 77, headerLength: 1 })).toBe('INVALID_GUEST');
    expect(await send({})).toBe('INVALID_GUEST_STATE');
  });

  it('refuses a packet that was altered anywhere', async () => {
    const good = await packet();
    for (let at = 0; at < 0x34; at++) {
      const header = good.header.slice();
      header[at]! ^= 0x10;
      expect(await hypervisor.inject(handle, { ...good, header }, places.image)).toBe('BAD_MEASUREMENT');
    }
    for (const at of [0, 17, 63]) {
      const payload = good.payload.slice();
      payload[at]! ^= 1;
      expect(await hypervisor.inject(handle, { ...good, payload }, places.image)).toBe('BAD_MEASUREMENT');
    }
    const cut = { ...good, payload: good.payload.slice(0, 48) };
    expect(await hypervisor.inject(handle, cut, places.image)).toBe('BAD_MEASUREMENT');
    expect(await hypervisor.inject(handle, good, places.image)).toBe('SUCCESS');
  });

  it('refuses a packet for another launch: another measurement under the same keys', async () => {
    const second = await hypervisor.newGuest(noDebug, { session });
    expectSuccess(await hypervisor.activate(second, 201));
    await hypervisor.measurement(second);
    expect(await hypervisor.inject(second, await packet(), places.image)).toBe('BAD_MEASUREMENT');
  });

  it('accepts it before API 0.17, where packets do not cover the measurement (limit)', async () => {
    const old = { apiMajor: 0, apiMinor: 16 };
    hypervisor = new TestHypervisor(testMachine({ profile: { api: old } }).host);
    await hypervisor.start();
    session = await hypervisor.ownerSession(noDebug);
    for (const asid of [200, 201]) {
      const guest = await hypervisor.newGuest(noDebug, { session });
      expectSuccess(await hypervisor.activate(guest, asid));
      await hypervisor.measurement(guest);
      expect(await hypervisor.inject(guest, await packet(old), places.image)).toBe('SUCCESS');
    }
  });

  it('accepts the same packet again, and at another address (limit): nothing in it says where or how often', async () => {
    const good = await packet();
    expect(await hypervisor.inject(handle, good, places.image)).toBe('SUCCESS');
    expect(await hypervisor.inject(handle, good, places.image)).toBe('SUCCESS');
    expect(await hypervisor.inject(handle, good, places.image + 0x2000)).toBe('SUCCESS');
  });

  it('is refused before LAUNCH_MEASURE and after LAUNCH_FINISH', async () => {
    const early = await hypervisor.newGuest(noDebug);
    expectSuccess(await hypervisor.activate(early, 202));
    expect(await hypervisor.inject(early, await packet(), places.image)).toBe('INVALID_GUEST_STATE');
    expectSuccess(await hypervisor.finish(handle));
    expect(await hypervisor.inject(handle, await packet(), places.image)).toBe('INVALID_GUEST_STATE');
  });

  it('refuses compressed packets that are genuine', async () => {
    const good = await packet();
    const flags = u32le(1);
    const length = u32le(good.payload.length);
    const iv = good.header.slice(4, 20);
    const mac = await hmacSha256(
      session.tik,
      Uint8Array.of(1),
      flags,
      iv,
      length,
      length,
      good.payload,
      measurement,
    );
    const compressed = { ...good, header: concat(flags, iv, mac) };
    expect(await hypervisor.inject(handle, compressed, places.image)).toBe('UNSUPPORTED');
  });
});

describe('LAUNCH_FINISH', () => {
  it('leaves nothing of the transport keys', async () => {
    const random = seededRandom('finish');
    const memory = createDram(8 * 1024 * 1024);
    const processor = new Processor({
      profile: machineProfiles.milan,
      chip: manufactureChip({ random }),
      random,
      memory,
    });
    const submit = async (name: keyof typeof sevCommands, bytes: Uint8Array) => {
      memory.write(places.buffer, bytes);
      expect(statusOf(await processor.submit(sevCommands[name], places.buffer))).toBe('SUCCESS');
    };
    await submit('INIT', initBuffer.build({ flags: { encryptedState: false } }));
    await submit('LAUNCH_START', launchStartBuffer.build({ policy: 0 }));
    const guest = processor.session.guests.named(1);
    const { tek, tik } = guest.channel;
    expect([tek, tik].every((key) => key instanceof Secret && !key.isZeroed)).toBe(true);
    await submit(
      'LAUNCH_MEASURE',
      launchMeasureBuffer.build({ handle: 1, address: BigInt(places.answer), length: 0x30 }),
    );
    await submit('LAUNCH_FINISH', launchFinishBuffer.build({ handle: 1 }));
    expect([tek.isZeroed, tik.isZeroed]).toEqual([true, true]);
    const { memoryKey } = guest;
    processor.end();
    expect(memoryKey.isZeroed).toBe(true);
  });
});

describe('ATTESTATION', () => {
  it('with too little room fills in the length', async () => {
    const handle = await hypervisor.newGuest(0);
    await hypervisor.measurement(handle);
    const request = { handle, address: BigInt(places.answer), mnonce: new Uint8Array(16), length: 0xcf };
    expect(await hypervisor.call('ATTESTATION', [attestationBuffer, request])).toBe('INVALID_LENGTH');
    expect((await hypervisor.answer(attestationBuffer)).length).toBe(0xd0);
    expect(launchMeasurementBlob.size).toBe(0x30);
  });
});
