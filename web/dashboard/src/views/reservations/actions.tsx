// What an administrator may do to what is held.

import type { Row } from '../../live/board';
import { board } from '../../live/store';
import { call } from '../../api/client';
import { session } from '../../api/session';
import type { Shape } from '../../api/types';
import { ask, type Field } from '../../ui/dialog';
import { plural } from '../../ui/format';
import { tell } from '../../ui/toasts';

const REASON: Field = {
  name: 'reason', label: 'Reason', isRequired: true,
  hint: 'Everybody who watches is told it.',
};

async function force(resource: string, reason: string): Promise<string[]> {
  const answer = await call<Shape<'ForceReleaseResult'>>('POST', '/api/v1/Reservation/forceRelease', { body: { resource, reason } });
  return answer.released;
}

/** Ends one reservation whoever holds it. */
export async function forceRelease(row: Row): Promise<void> {
  let released: string[] = [];
  const answer = await ask({
    title: `Release ${row.resource} by force?`,
    body: <p><strong>{row.requester}</strong> is not asked. Work that it still does is only stopped where the protected service checks fencing tokens.</p>,
    fields: [REASON],
    action: 'Release by force',
    isDangerous: true,
    run: async ({ reason = '' }) => { released = await force(row.resource, reason); },
  });
  if (answer !== null) tell(released.length === 0 ? `${row.resource} was free already.` : `Released ${released.join(', ')}.`);
}

/** What a holder holds by name: what was taken along with it goes with it. */
export function heldBy(requester: string): Row[] {
  return [...board.rows()].filter((row) => row.requester === requester && (row.isTakenByName ?? !row.blockerOf?.length));
}

/** Ends all that one requester holds, one call after the other. */
export async function releaseAllOf(requester: string): Promise<void> {
  const rows = heldBy(requester);
  let count = 0;
  const answer = await ask({
    title: `Release all that ${requester} holds?`,
    body: <p>{plural(rows.length, 'reservation')} will end. The holder is not asked.</p>,
    fields: [REASON],
    ...(rows.length > 1 && { word: requester }),
    action: `Release ${rows.length}`,
    isDangerous: true,
    run: async ({ reason = '' }) => {
      // What was done stays done: after a fault, trying again goes on with what is left.
      for (const row of heldBy(requester)) count += (await force(row.resource, reason)).length;
    },
  });
  if (answer !== null) tell(`Released ${plural(count, 'reservation')} of ${requester}.`);
}

/** Ends everything. */
export async function reset(): Promise<void> {
  let released = 0;
  const answer = await ask({
    title: 'Release everything?',
    body: (
      <p>
        Every reservation of the tenant ends, and everybody who waits is sent away: {plural(board.size, 'reservation')} now. It cannot be
        taken back.
      </p>
    ),
    word: session.value?.name ?? 'reset',
    action: 'Release everything',
    isDangerous: true,
    run: async () => { released = (await call<Shape<'ResetResult'>>('POST', '/api/v1/Reservation/reset')).released; },
  });
  if (answer !== null) tell(`Released ${plural(released, 'reservation')}.`);
}
