import {
  apiAtLeast,
  parseSnpGuestPolicy,
  Secret,
  type SnpGuestPolicy,
  type SnpPageType,
  snpLaunchFinishBuffer,
  snpLaunchStartBuffer,
  snpLaunchUpdateBuffer,
  snpPageTypes,
} from '@vouchsafe/sev';
import { drawMemoryKey, encryptMemory } from '../../memory/encryption.js';
import { refuse, refuseUnless } from '../../processor/command-refusal.js';
import { allPermissions, bytesOf, type PageSize } from '../../rmp/page-state.js';
import {
  emptyDigest,
  noMigrationAgent,
  type SnpGuestContext,
  type SnpGuestIdentity,
  type SnpLaunch,
} from '../guest-contexts.js';
import type { SnpFirmware } from '../snp-firmware.js';
import { parsedOrRefused } from '../snp-request.js';
import { tscScale } from '../tsc.js';
import type { SnpCall } from './command-handlers.js';
import { checkIdBlock, noIdBlock } from './id-block-check.js';
import { extendDigest, launchedContents } from './launch-pages.js';

/** Launching an SNP guest, in the order of the specification. */

export async function snpLaunchStart({ firmware, processor, request }: SnpCall): Promise<void> {
  const command = request.command(snpLaunchStartBuffer);
  const guest = firmware.session.guests.admit('SNP_LAUNCH_START', request.page(command.gctxAddress));
  const policy = parsedOrRefused(() => parseSnpGuestPolicy(command.policy));
  requireKnownDemands(policy, firmware);
  const tscKhz = command.desiredTscFrequency === 0 ? firmware.profile.tscKhz : command.desiredTscFrequency;
  refuseUnless(tscScale(tscKhz, firmware.profile) !== undefined, 'INVALID_PARAM');
  refuseUnless(
    apiAtLeast(processor.api, { apiMajor: policy.abiMajor, apiMinor: policy.abiMinor }),
    'POLICY_FAILURE',
  );
  requireMetDemands(policy, firmware);
  const reportIdMa = command.flags.migrationAgent
    ? agentFor(policy, firmware.session.guests.named(request.page(command.migrationAgentAddress)))
    : noMigrationAgent();

  const { random } = processor;
  guest.begin({
    policy,
    memoryKey: drawMemoryKey(random),
    offlineKey: Secret.take(random(32)),
    messageKeys: [0, 1, 2, 3].map(() => Secret.take(random(32))),
    messageCounts: [0n, 0n, 0n, 0n],
    migrationRootKey: Secret.take(random(32)),
    reportId: random(32),
    reportIdMa,
    workarounds: command.gosvw.slice(),
    tscKhz,
    isMigrationImage: command.flags.initialMigrationImage,
    digest: emptyDigest(),
    migrationImageDigest: emptyDigest(),
    identity: undefined,
  });
}

/** A Pre-Guest page becomes Guest-Valid: measured as its type says, encrypted in place. */
export async function snpLaunchUpdate({ firmware, processor, request }: SnpCall): Promise<void> {
  const command = request.command(snpLaunchUpdateBuffer);
  const { guests, reverseMap } = firmware.session;
  const guest = guests.admit('SNP_LAUNCH_UPDATE', request.page(command.gctxAddress));
  const launch = guest.launched;
  const { large, imiPage } = command.page;
  const type = typeNumbered(command.page.type);
  const permissions = [
    allPermissions,
    command.vmpl1Permissions,
    command.vmpl2Permissions,
    command.vmpl3Permissions,
  ] as const;
  refuseUnless(
    permissions.every((each) => each <= allPermissions),
    'INVALID_PARAM',
  );
  refuseUnless(!imiPage || launch.isMigrationImage, 'INVALID_PARAM');
  const size: PageSize = large ? '2M' : '4K';
  refuseUnless(!large || !onlySmall.includes(type), 'INVALID_PAGE_SIZE');
  const page = request.page(command.pageAddress, size);
  const entry = reverseMap.entry(page);
  refuseUnless(entry.size === size, 'INVALID_PAGE_SIZE');
  refuseUnless(reverseMap.state(page) === 'Pre-Guest', 'INVALID_PAGE_STATE');
  refuseUnless(entry.asid === guest.asid, 'INVALID_PAGE_OWNER');

  // The one copy: what is measured is what is encrypted.
  const given = processor.memory.read(page, bytesOf(size));
  const contents = launchedContents(type, given, { launch, firmware });
  if (contents.corrected !== undefined) {
    processor.memory.write(page, contents.corrected);
    refuse('INVALID_PARAM');
  }
  const measured = { type, contents: contents.bytes, gpa: entry.guestAddress, imiPage, permissions };
  launch.digest = await extendDigest(launch.digest, measured);
  if (imiPage) launch.migrationImageDigest = await extendDigest(launch.migrationImageDigest, measured);
  processor.memory.write(page, encryptMemory(launch.memoryKey, page, contents.bytes));
  contents.bytes.fill(0);
  reverseMap.setState(page, 'Guest-Valid', { vmsa: type === 'VMSA', permissions });
}

/** Fixes who the guest is; from here on VMRUN may enter it, and it may speak to the firmware. */
export async function snpLaunchFinish({ firmware, request }: SnpCall): Promise<void> {
  const command = request.command(snpLaunchFinishBuffer);
  const guest = firmware.session.guests.admit('SNP_LAUNCH_FINISH', request.page(command.gctxAddress));
  const launch = guest.launched;
  const { idBlock, authorKey, vcekDisabled } = command.flags;
  refuseUnless(idBlock || !authorKey, 'INVALID_PARAM');
  refuseUnless(isComplete(launch), 'INVALID_GUEST_STATE');
  const identity = idBlock
    ? await checkIdBlock(request, { ...command, authorKeyEnabled: authorKey, launch })
    : noIdBlock;
  const whole: SnpGuestIdentity = {
    ...identity,
    hostData: command.hostData.slice(),
    vcekDisabled,
    launchTcb: firmware.currentTcb,
    launchMitigationVector: firmware.profile.mitigationVector,
  };
  launch.identity = whole;
  guest.state = 'RUNNING';
}

const onlySmall: readonly SnpPageType[] = ['VMSA', 'SECRETS', 'CPUID'];

function typeNumbered(number: number): SnpPageType {
  const names = Object.keys(snpPageTypes) as SnpPageType[];
  return names.find((name) => snpPageTypes[name] === number) ?? refuse('INVALID_PARAM');
}

/** A demand that this firmware has no feature for is a reserved bit to it. */
function requireKnownDemands(policy: SnpGuestPolicy, { profile }: SnpFirmware): void {
  const { features } = profile;
  refuseUnless(!policy.cxlAllowed || features.cxlPolicy, 'INVALID_PARAM');
  refuseUnless(!policy.aes256Xts || features.aes256XtsPolicy, 'INVALID_PARAM');
  refuseUnless(!policy.raplDisabled || features.raplDisable, 'INVALID_PARAM');
  refuseUnless(!policy.ciphertextHiding || features.ciphertextHiding, 'INVALID_PARAM');
}

/** The machine has one socket, so a guest that wants only one has it. */
function requireMetDemands(policy: SnpGuestPolicy, { profile, session }: SnpFirmware): void {
  const { settings } = profile;
  refuseUnless(policy.smt || !settings.smt, 'POLICY_FAILURE');
  refuseUnless(policy.cxlAllowed || !settings.cxl, 'POLICY_FAILURE');
  refuseUnless(!policy.aes256Xts || settings.aes256Xts, 'POLICY_FAILURE');
  refuseUnless(!policy.raplDisabled || session.raplDisabled, 'POLICY_FAILURE');
  refuseUnless(!policy.ciphertextHiding || session.ciphertextHiding, 'POLICY_FAILURE');
}

/** Binds a guest to its migration agent, whose report id it carries. An agent stays on its chip. */
function agentFor(policy: SnpGuestPolicy, agent: SnpGuestContext): Uint8Array {
  refuseUnless(policy.migrationAgent, 'POLICY_FAILURE');
  refuseUnless(agent.state === 'RUNNING', 'INVALID_GUEST_STATE');
  refuseUnless(!agent.launched.policy.migrationAgent, 'POLICY_FAILURE');
  return agent.launched.reportId.slice();
}

/** A launch of an initial migration image has pages of one. */
function isComplete({ isMigrationImage, migrationImageDigest }: SnpLaunch): boolean {
  return !isMigrationImage || migrationImageDigest.some((byte) => byte !== 0);
}
