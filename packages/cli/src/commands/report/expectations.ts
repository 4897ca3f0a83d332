import {
  type PlatformExpectations,
  parseSnpGuestPolicy,
  parseSnpPlatformInfo,
  type ReportExpectations,
} from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { readTrustedKeys } from '../id-block/key-options.js';
import { type expectationOptions, platformFlags, policyFlags } from './expectation-options.js';
import { flagsOf } from './flag-options.js';

type Values = {
  readonly [K in keyof typeof expectationOptions]: ReturnType<(typeof expectationOptions)[K]['read']>;
};

/**
 * The expectations of a command line over those of a file: an option that is given replaces what the file says of the
 * same thing.
 * @throws InvalidArgumentError
 */
export async function readExpectations(
  values: Values,
  fromFile: ReportExpectations,
  io: Io,
): Promise<ReportExpectations> {
  const given: ReportExpectations = {
    reportData: values.reportData,
    measurements: unlessEmpty(values.measurement),
    hostData: values.hostData,
    requireIdBlock: values.requireIdblock || undefined,
    requireAuthorKey: values.requireAuthorKey || undefined,
    ...(await readTrustedKeys(values, io)),
    familyId: values.familyId,
    imageId: values.imageId,
    minimumGuestSvn: values.minGuestSvn,
    vmpl: values.vmpl,
    signingKey: values.signingKey,
    minimumReportVersion: values.minReportVersion,
    reportId: values.reportId,
    reportIdMa: values.reportIdMa,
    requireChipId: values.requireChipId || undefined,
    chipIds: unlessEmpty(values.chipId),
    deniedChipIds: unlessEmpty(values.denyChipId),
    productLines: unlessEmpty(values.product),
    cspIds: unlessEmpty(values.cspId),
    minimumBuild: values.minBuild,
    minimumVersion: values.minVersion,
    refuseUnknownPlatformBits: values.refuseUnknownPlatformBits || undefined,
  };
  const word = values.guestPolicy === undefined ? undefined : readPolicyWord(values.guestPolicy);
  return {
    ...fromFile,
    ...defined(given),
    ...combined('minimumAbi', fromFile.minimumAbi, values.minAbi ?? word?.minimumAbi),
    ...combined('policy', fromFile.policy, word?.policy, flagsOf('policy', policyFlags, values)),
    ...combined('minimumTcb', fromFile.minimumTcb, {
      reported: values.minTcb,
      committed: values.minCommittedTcb,
      launch: values.minLaunchTcb,
      current: values.minCurrentTcb,
    }),
    ...combined('mitigations', fromFile.mitigations, {
      launch: values.minLaunchMitigationVector,
      current: values.minCurrentMitigationVector,
    }),
    ...combined(
      'platformInfo',
      fromFile.platformInfo,
      values.platformInfo === undefined ? undefined : readPlatformWord(values.platformInfo),
      flagsOf('platform', platformFlags, values),
    ),
  };
}

/** The most permissive policy to accept, as go-sev-guest's `check` reads it: component by component. */
function readPolicyWord(word: bigint): Pick<ReportExpectations, 'minimumAbi' | 'policy'> {
  const { abiMajor, abiMinor, ...allowed } = parseSnpGuestPolicy(word, { offset: 0, path: '--guest-policy' });
  return {
    minimumAbi: { major: abiMajor, minor: abiMinor },
    policy: {
      ...clearUnless(allowed, ['smt', 'migrationAgent', 'debug', 'cxlAllowed']),
      ...setIf(allowed, [
        'singleSocket',
        'aes256Xts',
        'raplDisabled',
        'ciphertextHiding',
        'pageSwapDisabled',
      ]),
    },
  };
}

/** The same of PLATFORM_INFO. Bits without a published meaning ask for nothing: genuine chips set one. */
function readPlatformWord(word: bigint): PlatformExpectations {
  const allowed = parseSnpPlatformInfo(word);
  return {
    ...clearUnless(allowed, ['smtEnabled', 'tsmeEnabled', 'tioEnabled']),
    ...setIf(allowed, ['eccEnabled', 'raplDisabled', 'ciphertextHidingEnabled', 'aliasCheckComplete']),
  };
}

const clearUnless = <K extends string>(allowed: Readonly<Record<K, unknown>>, names: readonly K[]) =>
  Object.fromEntries(names.filter((name) => allowed[name] !== true).map((name) => [name, false]));
const setIf = <K extends string>(demanded: Readonly<Record<K, unknown>>, names: readonly K[]) =>
  Object.fromEntries(names.filter((name) => demanded[name] === true).map((name) => [name, true]));

const unlessEmpty = <T>(list: readonly T[]) => (list.length === 0 ? undefined : list);

/** A copy without the members that are undefined, so that it can be laid over another. */
function defined<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** One member, laid together from several sources, later ones first; left out when none has anything. */
function combined<K extends keyof ReportExpectations>(
  name: K,
  ...sources: readonly (Readonly<Record<string, unknown>> | undefined)[]
): Pick<ReportExpectations, K> | undefined {
  const whole = Object.assign({}, ...sources.map((source) => defined(source ?? {})));
  if (Object.keys(whole).length === 0) return undefined;
  return { [name]: whole } as Pick<ReportExpectations, K>;
}
