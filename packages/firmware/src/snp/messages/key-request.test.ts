import { createHmac } from 'node:crypto';
import {
  buildIdBlock,
  generateP384,
  keyRequests,
  keyResponse,
  openSecret,
  type P384PrivateKey,
  Secret,
  signIdBlock,
  type TcbVersion,
  toHex,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { manufactureChip } from '../../identity/chip.js';
import { vcekSeed } from '../../identity/vcek.js';
import { drawVlekHashstick } from '../../identity/vlek.js';
import { expectSuccess, seededRandom } from '../../testing/hypervisor.js';
import { SnpHypervisor, type SnpHypervisorOptions, snpPlaces } from '../../testing/snp-hypervisor.js';
import { counterModeKdf } from './key-derivation.js';

type Fields = Parameters<typeof keyRequests.v2.build>[0]['fields'];
type Request = Partial<Omit<Parameters<typeof keyRequests.v2.build>[0], 'tcbVersion'>> & {
  readonly version?: 1 | 2;
  readonly tcb?: TcbVersion;
  readonly vmpck?: number;
  readonly context?: number;
};

const noFields: Fields = {
  policy: false,
  imageId: false,
  familyId: false,
  measurement: false,
  guestSvn: false,
  tcbVersion: false,
  launchMitigationVector: false,
};
const select = (...names: (keyof Fields)[]): Fields => ({
  ...noFields,
  ...Object.fromEntries(names.map((name) => [name, true])),
});

async function ask(on: SnpHypervisor, request: Request = {}) {
  const { version = 1, tcb, vmpck = 0, context, fields = noFields, ...rest } = request;
  const values = {
    vmpl: vmpck,
    fields,
    ...rest,
    ...(tcb && { tcbVersion: on.firmware.tcbBytes(tcb) }),
  };
  const payload = keyRequests[`v${version}`].build(values as never);
  const options = { vmpck, version, ...(context === undefined ? {} : { context }) };
  const { status, key } = keyResponse.parse(await on.exchange('KEY_REQ', payload, options));
  return { status, key: toHex(key) };
}

async function keyOf(on: SnpHypervisor, request: Request = {}): Promise<string> {
  const { status, key } = await ask(on, request);
  expect(status).toBe(0);
  return key;
}

let idKey: P384PrivateKey;
let otherKey: P384PrivateKey;
beforeAll(async () => {
  idKey = await generateP384();
  otherKey = await generateP384();
});

interface Guest extends SnpHypervisorOptions {
  readonly policy?: bigint;
  readonly image?: number;
  readonly familyId?: number;
  readonly imageId?: number;
  readonly svn?: number;
  readonly hostData?: number;
  readonly key?: P384PrivateKey | 'none';
}

const chip = manufactureChip({ random: seededRandom('sealing chip') });
const filled = (length: number, byte: number) => new Uint8Array(length).fill(byte);

/** A guest with an ID block, on the same chip unless another is given. */
async function launched(guest: Guest = {}): Promise<SnpHypervisor> {
  const {
    policy = 0x30000n,
    image = 1,
    familyId = 2,
    imageId = 3,
    svn = 4,
    hostData = 5,
    key = idKey,
  } = guest;
  const on = new SnpHypervisor({ chip, seed: JSON.stringify([image, svn, hostData]), ...guest });
  await on.start();
  await on.newGuest({ policy });
  expectSuccess(await on.load('NORMAL', { contents: filled(4096, image) }));
  const finish = { hostData: filled(32, hostData) };
  if (key === 'none') {
    expectSuccess(await on.finish(finish));
    return on;
  }
  const idBlock = buildIdBlock({
    launchDigest: on.launch().digest,
    familyId: filled(16, familyId),
    imageId: filled(16, imageId),
    guestSvn: svn,
    policy,
  });
  expectSuccess(
    await on.finish({ ...finish, idBlock, idAuthentication: await signIdBlock(idBlock, { idKey: key }) }),
  );
  return on;
}

describe('a derived key', () => {
  it('is the one of SP 800-108 over the block of the reference sheet', async () => {
    const on = await launched();
    const tcb = on.firmware.currentTcb;
    const fields = select('policy', 'imageId', 'familyId', 'measurement', 'guestSvn', 'tcbVersion');
    const key = await keyOf(on, { fields, guestSvn: 2, tcb, vmpl: 1 });

    const context = new Uint8Array(0xd0);
    const view = new DataView(context.buffer);
    view.setBigUint64(0x08, 0x3fn, true);
    view.setUint32(0x10, 1, true);
    view.setUint32(0x14, 2, true);
    context.set([4, 0, 0, 0, 0, 0, 24, 219], 0x18);
    view.setBigUint64(0x20, 0x30000n, true);
    context.fill(3, 0x28, 0x38);
    context.fill(2, 0x38, 0x48);
    context.set(on.launch().digest, 0x48);
    context.fill(5, 0x78, 0x98);
    context.set(on.launch().identity!.idKeyDigest, 0x98);
    const message = Buffer.concat([
      Buffer.from([0, 0, 0, 1]),
      Buffer.from('gmsg-keyreq\0'),
      context,
      Buffer.from([0, 0, 1, 0]),
    ]);
    const root = openSecret(vcekSeed(chip, tcb));
    expect(key).toBe(createHmac('sha384', root).update(message).digest('hex').slice(0, 64));
  });

  it('is the same again, for another guest from the same things, and after a restart of the machine', async () => {
    const fields = select('policy', 'imageId', 'familyId', 'measurement', 'guestSvn', 'tcbVersion');
    const on = await launched();
    const request = { fields, guestSvn: 4, tcb: on.firmware.currentTcb };
    const key = await keyOf(on, request);
    expect(await keyOf(on, request)).toBe(key);
    expect(await keyOf(await launched(), request)).toBe(key);
    expect(await keyOf(await launched({ seed: 'restarted' }), request)).toBe(key);
  });

  /** What changes and who asks for which fields: the key differs only where the sheet says so. */
  const always: readonly (readonly [string, Guest])[] = [
    ['another chip', { chip: manufactureChip({ random: seededRandom('other chip') }) }],
    ['other host data', { hostData: 9 }],
    ['no ID block', { key: 'none', familyId: 0, imageId: 0, svn: 0 }],
  ];
  it.each(always)('differs under %s, whatever was selected', async (_what, guest) => {
    expect(await keyOf(await launched(guest))).not.toBe(await keyOf(await launched()));
  });

  it('differs under another ID key, whatever was selected', async () => {
    expect(await keyOf(await launched({ key: otherKey }))).not.toBe(await keyOf(await launched()));
  });

  const selected: readonly (readonly [keyof Fields, Guest])[] = [
    ['policy', { policy: 0xb0000n }],
    ['imageId', { imageId: 9 }],
    ['familyId', { familyId: 9 }],
    ['measurement', { image: 9 }],
  ];
  it.each(selected)('differs with %s where that is selected, and only there', async (field, guest) => {
    const [a, b] = [await launched(), await launched(guest)];
    expect(await keyOf(b, { fields: select(field) })).not.toBe(await keyOf(a, { fields: select(field) }));
    expect(await keyOf(b)).toBe(await keyOf(a));
    const others = (Object.keys(noFields) as (keyof Fields)[]).filter(
      (name) => name !== field && name !== 'launchMitigationVector',
    );
    expect(await keyOf(b, { fields: select(...others) })).toBe(await keyOf(a, { fields: select(...others) }));
  });

  it('differs with which fields are selected, with the VMPL, and with SVN and TCB that are selected', async () => {
    const on = await launched();
    const { currentTcb } = on.firmware;
    const lower = { ...currentTcb, snp: 3 };
    const keys = [
      await keyOf(on),
      await keyOf(on, { fields: select('policy') }),
      await keyOf(on, { fields: select('measurement') }),
      await keyOf(on, { vmpl: 1 }),
      await keyOf(on, { vmpl: 2 }),
      await keyOf(on, { vmpl: 3 }),
      await keyOf(on, { fields: select('guestSvn'), guestSvn: 4 }),
      await keyOf(on, { fields: select('guestSvn'), guestSvn: 3 }),
      await keyOf(on, { fields: select('guestSvn'), guestSvn: 0 }),
      await keyOf(on, { fields: select('tcbVersion'), tcb: currentTcb }),
      await keyOf(on, { fields: select('tcbVersion'), tcb: lower }),
      await keyOf(on, { fields: select('tcbVersion') }),
      await keyOf(on, { root: { vmrk: true, keySelection: 0 } }),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(await keyOf(on, { guestSvn: 3, tcb: lower }), 'not selected, so of no account').toBe(keys[0]);
  });

  it('of a lower privilege level can be had by a higher one, never the other way round', async () => {
    const on = await launched();
    const lower = await keyOf(on, { vmpck: 2 });
    expect(await keyOf(on, { vmpck: 0, vmpl: 2 })).toBe(lower);
    for (const [vmpck, vmpl] of [
      [1, 0],
      [2, 1],
      [3, 0],
      [0, 4],
    ] as const) {
      expect((await ask(on, { vmpck, vmpl })).status, `VMPCK${vmpck} for VMPL ${vmpl}`).toBe(0x16);
    }
  });

  it('of a later guest, or a better processor, is refused; an earlier one’s can be had', async () => {
    const on = await launched({ svn: 4 });
    const fields = select('guestSvn', 'tcbVersion');
    const { currentTcb } = on.firmware;
    expect(await ask(on, { fields, guestSvn: 5, tcb: currentTcb })).toEqual({
      status: 0x16,
      key: '00'.repeat(32),
    });
    for (const name of ['bootloader', 'tee', 'snp', 'microcode'] as const) {
      const above = { ...currentTcb, [name]: currentTcb[name] + 1 };
      expect((await ask(on, { fields, tcb: above })).status, name).toBe(0x16);
    }
    expect(await keyOf(await launched({ svn: 9 }), { fields, guestSvn: 4, tcb: currentTcb })).toBe(
      await keyOf(on, { fields, guestSvn: 4, tcb: currentTcb }),
    );
  });

  it('above the committed TCB is refused while firmware is provisional, and given after COMMIT', async () => {
    const own = manufactureChip({ random: seededRandom('provisional') });
    const before = new SnpHypervisor({ chip: own });
    await before.start();
    const newer = { ...before.firmware.currentTcb, microcode: 230 };
    const on = await launched({ chip: own, snp: { currentTcb: newer } });
    expect((await ask(on, { tcb: newer })).status).toBe(0x16);
    expectSuccess(await on.commit());
    expect((await ask(on, { tcb: newer })).status).toBe(0);
  });

  it('is bound to the reported TCB, so that a key of newer firmware is none of older', async () => {
    const on = await launched();
    const now = await keyOf(on);
    expectSuccess(await on.config({ tcb: { ...on.firmware.currentTcb, snp: 20 } }));
    const lower = await keyOf(on);
    expect(lower).not.toBe(now);
    expectSuccess(await on.config({}));
    expect(await keyOf(on)).toBe(now);
  });

  it('is refused for reserved bits and for a TCB version of the other layout', async () => {
    const on = await launched();
    for (const [at, bit] of [
      [0x00, 0x08],
      [0x04, 0x01],
      [0x08, 0x40],
      [0x08, 0x80],
      [0x0f, 0x80],
      [0x1a, 0x01],
    ] as const) {
      const payload = keyRequests.v1.build({ fields: noFields, vmpl: 0 });
      payload[at]! |= bit;
      const { status } = keyResponse.parse(await on.exchange('KEY_REQ', payload));
      expect(status, `byte 0x${at.toString(16)}`).toBe(0x16);
    }
    expect((await ask(on, { root: { vmrk: false, keySelection: 3 } })).status).toBe(0x16);
    expect((await ask(on, { root: { vmrk: true, keySelection: 3 } })).status).toBe(0x16);
  });

  it('counts the mitigations of version 2, which are some of those at launch', async () => {
    const on = await launched({ snp: { mitigationVector: 0x0cn } });
    const fields = select('launchMitigationVector');
    const keys: string[] = [];
    for (const launchMitigationVector of [0n, 0x04n, 0x0cn]) {
      keys.push(await keyOf(on, { version: 2, fields, launchMitigationVector }));
    }
    expect(new Set(keys).size).toBe(3);
    expect((await ask(on, { version: 2, fields, launchMitigationVector: 0x0dn })).status).toBe(0x16);
    expect(await keyOf(on, { version: 2, launchMitigationVector: 0x04n })).toBe(await keyOf(on));
  });
});

describe('the root of derived keys', () => {
  const vlekRoot = { root: { vmrk: false, keySelection: 2 } };
  const vmrkRoot = { root: { vmrk: true, keySelection: 0 } };

  it('VCEK is the chip’s own: no other chip has it, the same VLEK loaded or not', async () => {
    const hashstick = drawVlekHashstick(seededRandom('shared'));
    const [a, b] = [
      await launched(),
      await launched({ chip: manufactureChip({ random: seededRandom('b') }) }),
    ];
    for (const on of [a, b]) expectSuccess(await on.loadVlek({ hashstick }));
    const chips = { root: { vmrk: false, keySelection: 1 } };
    expect(await keyOf(a, chips)).not.toBe(await keyOf(b, chips));
    expect(await keyOf(a, vlekRoot)).toBe(await keyOf(b, vlekRoot));
    expect(await keyOf(a, vlekRoot)).not.toBe(await keyOf(a, chips));
  });

  it('VLEK is that of an operator: another operator’s, or none, gives another key or none', async () => {
    const on = await launched();
    expect((await ask(on, vlekRoot)).status).toBe(0x27);
    expectSuccess(await on.loadVlek({ hashstick: drawVlekHashstick(seededRandom('first')) }));
    const first = await keyOf(on, vlekRoot);
    expectSuccess(await on.loadVlek({ hashstick: drawVlekHashstick(seededRandom('second')) }));
    expect(await keyOf(on, vlekRoot)).not.toBe(first);
  });

  it('VMRK is of one launch: after a restart, it is another', async () => {
    const [a, b] = [await launched({ seed: 'a' }), await launched({ seed: 'b' })];
    expect(await keyOf(a, vmrkRoot)).toBe(await keyOf(a, vmrkRoot));
    expect(await keyOf(a, vmrkRoot)).not.toBe(await keyOf(b, vmrkRoot));
  });

  it('VCEK is not to be had where it was disabled at launch, or masked by the host', async () => {
    const on = new SnpHypervisor({ chip });
    await on.start();
    await on.runningGuest({ finish: { vcekDisabled: true } });
    expect((await ask(on)).status).toBe(0x27);
    expect((await ask(on, vmrkRoot)).status).toBe(0);
    const other = { context: snpPlaces.otherContext };
    await on.runningGuest({ ...other, asid: 2 });
    expect((await ask(on, other)).status).toBe(0);
    expectSuccess(await on.config({ maskChipKey: true }));
    expect((await ask(on, other)).status).toBe(0x27);
  });
});

describe('the key derivation', () => {
  it('has known answers, of one block and of several', () => {
    const root = Secret.take(filled(32, 7));
    const context = Uint8Array.of(1, 2, 3);
    const block = (counter: number, bits: number) =>
      createHmac('sha384', filled(32, 7))
        .update(Buffer.from([0, 0, 0, counter]))
        .update('label\0')
        .update(context)
        .update(Buffer.from([0, 0, bits >> 8, bits & 0xff]))
        .digest('hex');
    expect(toHex(counterModeKdf(root, 'label', context, 48))).toBe(block(1, 384));
    expect(toHex(counterModeKdf(root, 'label', context, 60))).toBe(
      (block(1, 480) + block(2, 480)).slice(0, 120),
    );
  });
});
