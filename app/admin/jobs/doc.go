// Package jobs does what the cluster's operators need not do by hand, on one admin
// at a time:
//
//	publish    finishes a publishing that a crash interrupted
//	windows    notes in the audit log when the windows of sales open and close
//	close      closes sales that are over, once nobody can pay any more
//	archive    puts closed sales into files, and deletes them from the store
//	history    records config versions that were written by hand, deletes old ones
//	audit      deletes old records of the audit log
//	sessions   deletes sessions that have expired
//
// # One at a time
//
// Admins stand for election (package election); who leads does the jobs. Every write of
// a job, of its records in the audit log and of its status has the condition that the term
// lasts: a leader that was paused or cut off, and goes on when another one leads, finds all its
// writes refused.
//
// # Once
//
// Every job may be interrupted after any write and begun again by another admin. What
// is done then is done once: each step has conditions of its own, and a step that is
// found done is passed over. The audit log may have two records of such an action, the
// first of which stays as begun.
//
// # What is in the store
//
//	elections/admin/…   who leads: see package election
//	jobs/<name>         when the job ran last, what came of it, when it runs next: JSON
//	clocks/admin        the time by which jobs were last done, by a clock that nobody doubts
//
// Jobs only ever do what is certain to be wanted: a sale is closed when its window is
// over, its payment deadline has passed and no order is pending any more, and it is
// deleted only from the store, only if there is a directory for archives, and after the archive was read back and
// found to keep every rule. By a clock that may be far ahead neither is done, nor is any
// window noted, session or record deleted: see clock.
//
// # What fails
//
// A sale that can't be dealt with, or takes too long, keeps no other from being dealt with.
// It is tried again: after a minute, and then less and less often, down to every four hours.
// What is no sale's fault ends the round, and puts none off: the term is over, the store does
// not answer, or the directory of archives is still held up by a sale.
package jobs
