import type { SnpAttack } from '../attack.js';

export const snpReportAttacks: readonly SnpAttack[] = [];
