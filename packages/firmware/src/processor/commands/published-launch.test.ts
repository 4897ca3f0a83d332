import {
  attestationBuffer,
  attestationReport,
  fromBase64,
  fromHex,
  initExBuffer,
  type LaunchSession,
  toHex,
  verifyAttestationReport,
} from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { describeWithVectors, jsonVector } from '../../../../sev/src/testing/vectors.js';
import { manufactureChip, storeKeys } from '../../identity/chip.js';
import { deriveP384Key, p384Key } from '../../identity/keys.js';
import { sealStore } from '../../identity/persistent-store.js';
import { makePdh, makeSelfOwnedIdentity } from '../../identity/platform-keys.js';
import {
  expectSuccess,
  places,
  seededRandom,
  TestHypervisor,
  testMachine,
} from '../../testing/hypervisor.js';

const api = { apiMajor: 1, apiMinor: 55 };

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
