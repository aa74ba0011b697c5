;; Makes sets of 800 header fields without a value through WASI again and again.
(module
  (import "wasi:http/types@0.2.0" "[static]fields.from-list" (func $from (param i32 i32 i32)))
  (import "wasi:http/types@0.2.0" "[resource-drop]fields" (func $drop (param i32)))
  (memory (export "memory") 3)
  (global $free (mut i32) (i32.const 8192))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (data (i32.const 64) "x")
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (local $at i32)
    (local.set $at (i32.const 65536))
    (loop $fill
      (i32.store (local.get $at) (i32.const 64))
      (i32.store offset=4 (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $fill (i32.lt_u (local.get $at) (i32.const 78336))))
    (loop $more
      (call $from (i32.const 65536) (i32.const 800) (i32.const 1024))
      (br_if $more (i32.load8_u (i32.const 1024)))
      (call $drop (i32.load (i32.const 1028)))
      (br $more))
    (unreachable))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
