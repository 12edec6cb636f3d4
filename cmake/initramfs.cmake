# What initramfs-tools runs: the hook when an initramfs is built, the scripts in it when it boots.
set(initramfs_tools ${CMAKE_INSTALL_DATADIR}/initramfs-tools)
set(hook ${PROJECT_SOURCE_DIR}/initramfs-hook)
install(PROGRAMS ${hook}/hook DESTINATION ${initramfs_tools}/hooks RENAME volseal COMPONENT volseal-initramfs)
install(PROGRAMS ${hook}/scripts/local-top DESTINATION ${initramfs_tools}/scripts/local-top
  RENAME volseal COMPONENT volseal-initramfs)
foreach(stage init-bottom panic)
  install(PROGRAMS ${hook}/scripts/latch DESTINATION ${initramfs_tools}/scripts/${stage}
    RENAME volseal COMPONENT volseal-initramfs)
endforeach()
install(FILES ${hook}/boot.conf DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/volseal COMPONENT volseal-initramfs)

# Verified after everything that changes what boots.
set(etc ${CMAKE_INSTALL_FULL_SYSCONFDIR})
install(PROGRAMS ${hook}/post-update DESTINATION ${etc}/initramfs/post-update.d RENAME volseal COMPONENT volseal-initramfs)
install(PROGRAMS ${hook}/post-update DESTINATION ${etc}/kernel/postinst.d RENAME zz-volseal COMPONENT volseal-initramfs)
install(FILES ${hook}/apt.conf DESTINATION ${etc}/apt/apt.conf.d RENAME 90volseal COMPONENT volseal-initramfs)
install(PROGRAMS ${hook}/after-apt DESTINATION lib/volseal COMPONENT volseal-initramfs)
