;; Starts two requests, waits for the second of them, for nothing, and for the second again; rejects with the cases.
(module
  (import "tidegate:destination/http@0.1.0" "start" (func $start (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "tidegate:destination/http@0.1.0" "wait-any" (func $wait (param i32 i32 i32 i64 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (data (i32.const 64) "POSThttps://partner.example/in")
  (data (i32.const 16) "\02\00\00\00\00\00\00\00\30\00\00\00\03\00\00\00")
  ;; 0 for a response, 2 for `invalid-request` (case 1 of the error, plus one).
  (func $case (param $place i32)
    (i32.store8 (local.get $place) (i32.add (i32.const 48) (if (result i32) (i32.load8_u (i32.const 264))
      (then (i32.add (i32.const 1) (i32.load8_u (i32.const 268)))) (else (i32.const 0))))))
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (call $start
      (i32.const 64) (i32.const 4) (i32.const 68) (i32.const 26) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 256))
    (call $start
      (i32.const 64) (i32.const 4) (i32.const 68) (i32.const 26) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 256))
    (i32.store (i32.const 128) (i32.load (i32.const 260)))
    (call $wait (i32.const 128) (i32.const 1) (i32.const 0) (i64.const 0) (i32.const 256))
    (call $case (i32.const 48))
    (call $wait (i32.const 128) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 256))
    (call $case (i32.const 49))
    (call $wait (i32.const 128) (i32.const 1) (i32.const 0) (i64.const 0) (i32.const 256))
    (call $case (i32.const 50))
    (i32.const 16))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
