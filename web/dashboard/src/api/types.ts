// The shapes of the API by name. They are generated from the OpenAPI document at each build.

import type { components } from './schema';

type Schemas = components['schemas'];
export type Shape<Name extends keyof Schemas> = Schemas[Name];

export type Reservation = Shape<'ActiveReservation'>;
export type Ticket = Shape<'WaitingTicket'>;
export type Resource = Shape<'Resource'>;
export type ResourceDefinition = Shape<'ResourceDefinition'>;
export type Session = Shape<'Session'>;
export type Scope = Shape<'Scope'>;
export type Check = Shape<'CheckResult'>;
export type ReservationEvent = Shape<'ReservationEvent'>;
export type EventChange = Shape<'EventChange'>;
export type EventType = Shape<'EventType'>;
export type ErrorBody = Shape<'ErrorBody'>;
export type ErrorCode = Shape<'ErrorCode'>;

export type Connection = Shape<'Connection'>;
export type Job = Shape<'Job'>;
export type JobDetails = Shape<'JobDetails'>;
export type JobState = Shape<'JobState'>;
export type Queue = Shape<'Queue'>;
export type Worker = Shape<'Worker'>;
export type ApiKey = Shape<'Key'>;
export type Tenant = Shape<'Tenant'>;
export type Tier = Shape<'Tier'>;
